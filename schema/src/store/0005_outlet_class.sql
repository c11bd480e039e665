-- Classes of outlets, by which parameters may differ. An outlet without a row has class 1.
CREATE TABLE outlet_class (
    outlet INTEGER PRIMARY KEY REFERENCES outlet,
    class  INTEGER NOT NULL CHECK (class BETWEEN 1 AND 9)
) STRICT;
