-- Tasks that providers fulfil, beside those of devices and of the server's own processor.

ALTER TABLE tasks ADD COLUMN lane TEXT NOT NULL DEFAULT 'device' CHECK (lane IN ('device', 'host', 'remote')); -- who takes it from the queue
UPDATE tasks SET lane = 'host' WHERE is_host = 1;
ALTER TABLE tasks DROP COLUMN is_host;
