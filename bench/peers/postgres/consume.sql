\set number random(1, :subjects)
\set key random(1, 9000000000000000000)
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT consume('user:u_' || :number, 'claude-sonnet-4', ':key');
COMMIT;
