-- The schema of the app `rest_framework_api_key`, as its migrations leave it. To be read; nothing runs it.
-- Written by `./pricebook manage write_schema`; a test compares it with the migrated database.

-- rest_framework_api_key_apikey -------------------------------------------------------------------

CREATE TABLE rest_framework_api_key_apikey (
    id character varying(150) NOT NULL,
    created timestamp with time zone NOT NULL,
    name character varying(50) NOT NULL,
    revoked boolean NOT NULL,
    expiry_date timestamp with time zone,
    hashed_key character varying(150) NOT NULL,
    prefix character varying(8) NOT NULL,
    number bigint NOT NULL DEFAULT nextval('rest_framework_api_key_apikey_number_seq'::regclass),
    scopes character varying(40)[] NOT NULL DEFAULT '{}'::character varying(40)[],
    made_by character varying(150) NOT NULL DEFAULT ''::character varying,
    maker_id integer,
    made_with_id bigint,
    old_hashed_key character varying(150) NOT NULL DEFAULT ''::character varying,
    old_until timestamp with time zone,
    rotated_by character varying(150) NOT NULL DEFAULT ''::character varying,
    revoked_by character varying(150) NOT NULL DEFAULT ''::character varying,
    last_used_at timestamp with time zone,
    CONSTRAINT rest_framework_api_key_apikey_pkey PRIMARY KEY (id),
    CONSTRAINT rest_framework_api_key_apikey_number_key UNIQUE (number),
    CONSTRAINT rest_framework_api_key_apikey_prefix_key UNIQUE (prefix),
    CONSTRAINT api_key_old_secret_ends CHECK (old_hashed_key::text = ''::text OR old_until IS NOT NULL),
    CONSTRAINT rest_framework_api_k_made_with_id_f4ab4a59_fk_rest_fram FOREIGN KEY (made_with_id) REFERENCES rest_framework_api_key_apikey(number) DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT rest_framework_api_key_apikey_maker_id_e0a406f5_fk_auth_user_id FOREIGN KEY (maker_id) REFERENCES auth_user(id) DEFERRABLE INITIALLY DEFERRED
);

CREATE INDEX rest_framework_api_key_apikey_created_c61872d9 ON rest_framework_api_key_apikey USING btree (created);

CREATE INDEX rest_framework_api_key_apikey_id_6e07e68e_like ON rest_framework_api_key_apikey USING btree (id varchar_pattern_ops);

CREATE INDEX rest_framework_api_key_apikey_prefix_4e0db5f8_like ON rest_framework_api_key_apikey USING btree (prefix varchar_pattern_ops);
