-- Purpose  Lets the log of refusals tell those that were refused only because of what others hold: reserved_by_others, as in their
--          answers. They were limit_exceeded before, and those rows stay.
-- Phase    expand
-- Locks    ACCESS EXCLUSIVE on denials, for an instant
-- Size     none
-- Undo     UPDATE denials SET code = 'limit_exceeded' WHERE code = 'reserved_by_others'; the old check again
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

ALTER TABLE denials
DROP CONSTRAINT denials_code_known,
ADD CONSTRAINT denials_code_known CHECK (
    code IN (
        'limit_exceeded', 'reserved_by_others', 'subject_blocked', 'feature_not_entitled', 'model_not_allowed', 'no_plan'
    )
) NOT VALID;
