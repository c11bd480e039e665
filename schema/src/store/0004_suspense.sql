-- What an outlet got from suspense, so that what moved its money adds up to its balance also where a fact broke a rule.
ALTER TABLE outlet_day ADD COLUMN suspense_fen INTEGER NOT NULL DEFAULT 0;
