-- An outlet's row is written anew, or taken out, with each move: whether devices and persons refer to it is looked up here instead of in all
-- the province's.
CREATE INDEX terminal_by_outlet ON terminal (outlet);
CREATE INDEX operator_by_outlet ON operator (outlet);
