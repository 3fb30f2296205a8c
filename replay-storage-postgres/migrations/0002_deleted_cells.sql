-- The version at which a cell was deleted. It counts as long as that is its version, so whoever writes the cell anew, also a program
-- that does not know this column, brings it back. Its expiry is when it was deleted by the clock of whoever did it: hosts whose
-- clocks differ must not go by that.
ALTER TABLE @.cells ADD COLUMN deleted_version bigint;
