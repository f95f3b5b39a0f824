-- Purpose  The subjects at and below a subject, out of usage_counters. In the order of bytes they are one range of an
--          index; in the order of a language, which the columns of this table have, they are scattered. The index that loads
--          use is made anew in the order of bytes and serves both; the next migration drops the old one.
-- Phase    expand
-- Locks    SHARE on usage_counters while the index is built (about 2 s a million rows): flushes wait and are tried again,
--          decisions and loads go on
-- Size     as the index that it replaces
-- Undo     DROP INDEX usage_counters_level_window_end_idx;
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '30min';

-- squawk-ignore require-concurrent-index-creation
CREATE INDEX usage_counters_level_window_end_idx ON usage_counters (subject COLLATE "C", window_end);

COMMENT ON COLUMN usage_counters.period IS
'How often the limit starts anew; counters of minutes and hours live in Redis alone (docs/adr/0011)';
