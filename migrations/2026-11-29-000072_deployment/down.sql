ALTER TABLE log_origin DROP COLUMN database_oid;
DROP TABLE deployment;
