-- What a provider answered to a call that it fulfilled at once: where the results are, as JSON. It is written down before they are fetched.

ALTER TABLE provider_calls ADD COLUMN answer TEXT;
