\set key random(1, 9000000000000000000)
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT consume(:subject, :model, ':key');
COMMIT;
