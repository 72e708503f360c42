-- The schema of the app `desk`, as its migrations leave it. To be read; nothing runs it.
-- Written by `./pricebook manage write_schema`; a test compares it with the migrated database.

-- desk_chosenlanguage -----------------------------------------------------------------------------

CREATE TABLE desk_chosenlanguage (
    user_id integer NOT NULL,
    language character varying(10) NOT NULL,
    CONSTRAINT desk_chosenlanguage_pkey PRIMARY KEY (user_id),
    CONSTRAINT desk_chosenlanguage_user_id_8a007070_fk_auth_user_id FOREIGN KEY (user_id) REFERENCES auth_user(id) DEFERRABLE INITIALLY DEFERRED
);
