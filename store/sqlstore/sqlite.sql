CREATE TABLE IF NOT EXISTS {{table}}_records (
    key     BLOB    PRIMARY KEY,
    owner   BLOB    NOT NULL,
    value   BLOB    NOT NULL,
    expiry  INTEGER NOT NULL, -- in milliseconds since 1970
    version INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS {{table}}_records_owner ON {{table}}_records (owner, key);
CREATE INDEX IF NOT EXISTS {{table}}_records_expiry ON {{table}}_records (expiry);
CREATE TABLE IF NOT EXISTS {{table}}_counters (
    key    BLOB    PRIMARY KEY,
    total  INTEGER NOT NULL,
    expiry INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS {{table}}_counters_expiry ON {{table}}_counters (expiry);
