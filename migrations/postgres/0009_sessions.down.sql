ALTER TABLE IF EXISTS refresh_tokens DROP CONSTRAINT IF EXISTS refresh_tokens_session;
DROP TABLE IF EXISTS sessions;
