"""First tables: catalog, statistics, suppression, bounce counts, access, audit."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("key_hash", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=True),
        sa.Column("last_used_ms", sa.BigInteger(), nullable=True),
        sa.Column("revoked_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="api_keys_pkey"),
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("time_ms", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("before", sa.Text(), nullable=False),
        sa.Column("after", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="audit_pkey"),
    )
    op.create_index("audit__time_ms_idx", "audit", ["time_ms"], unique=False)
    op.create_table(
        "bounce_answers",
        sa.Column("record_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("email_hash", sa.String(length=32), nullable=False),
        sa.Column("bad_address", sa.Boolean(), nullable=False),
        sa.Column("time_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("record_id", "email_hash", name="bounce_answers_pkey"),
    )
    op.create_index("bounce_answers__time_ms_idx", "bounce_answers", ["time_ms"], unique=False)
    op.create_table(
        "bounce_counts",
        sa.Column("email_hash", sa.String(length=32), nullable=False),
        sa.Column("rule", sa.String(length=64), nullable=False),
        sa.Column("bounces", sa.Integer(), nullable=False),
        sa.Column("first_ms", sa.BigInteger(), nullable=False),
        sa.Column("last_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("email_hash", "rule", name="bounce_counts_pkey"),
    )
    op.create_index("bounce_counts__last_ms_idx", "bounce_counts", ["last_ms"], unique=False)
    op.create_table(
        "catalog_objects",
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=400), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "name", name="catalog_objects_pkey"),
    )
    op.create_table(
        "catalog_version",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="catalog_version_pkey"),
    )
    op.execute("INSERT INTO catalog_version (id, version) VALUES (1, 0)")
    op.create_table(
        "clickthrough_clicks",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("urlid", sa.Integer(), nullable=False),
        sa.Column("clicktime", sa.Integer(), nullable=False),
        sa.Column("emailaddress", sa.String(), nullable=False),
        sa.Column("html_or_text", sa.CHAR(length=1), nullable=False),
        sa.Column("email_code", sa.Integer(), nullable=True),
        sa.Column("email_code_text", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="clickthrough_clicks_pkey"),
    )
    op.create_index(
        "clickthrough_clicks__clicktime_idx", "clickthrough_clicks", ["clicktime"], unique=False
    )
    op.create_index(
        "clickthrough_clicks__urlid_idx", "clickthrough_clicks", ["urlid"], unique=False
    )
    op.create_table(
        "clickthrough_urls",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("sendid", sa.String(length=100), nullable=False),
        sa.Column("listid", sa.String(length=100), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="clickthrough_urls_pkey"),
    )
    if op.get_context().dialect.name == "postgresql":
        op.execute(
            "CREATE UNIQUE INDEX clickthrough_urls__key_md5"
            " ON clickthrough_urls (sendid, listid, md5(url))"
        )
    else:
        op.create_index(
            "clickthrough_urls__key", "clickthrough_urls", ["sendid", "listid", "url"], unique=True
        )
    op.create_table(
        "cursors",
        sa.Column("consumer", sa.String(length=64), nullable=False),
        sa.Column("server_id", sa.String(length=255), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("consumer", "server_id", name="cursors_pkey"),
    )
    op.create_table(
        "idempotency",
        sa.Column("principal", sa.String(length=200), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("request_hash", sa.String(length=64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("principal", "key", name="idempotency_pkey"),
    )
    op.create_index("idempotency__created_ms_idx", "idempotency", ["created_ms"], unique=False)
    op.create_table(
        "invitations",
        sa.Column("id_hash", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id_hash", name="invitations_pkey"),
    )
    op.create_table(
        "link_rules",
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("key_hash", sa.String(length=32), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "key_hash", name="link_rules_pkey"),
    )
    op.create_table(
        "sessions",
        sa.Column("id_hash", sa.String(length=64), nullable=False),
        sa.Column("user_name", sa.String(length=100), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("last_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id_hash", name="sessions_pkey"),
    )
    op.create_index("sessions__user_name_idx", "sessions", ["user_name"], unique=False)
    op.create_table(
        "stats_bounces",
        sa.Column("sendid", sa.String(length=100), nullable=False),
        sa.Column("listid", sa.String(length=100), nullable=False),
        sa.Column("bounce_type", sa.String(length=1), nullable=False),
        sa.Column("bounce_code", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("bounce_reason", sa.String(length=64), nullable=False),
        sa.Column("bounces", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint(
            "sendid",
            "listid",
            "bounce_type",
            "bounce_code",
            "bounce_reason",
            name="stats_bounces_pkey",
        ),
    )
    op.create_table(
        "stats_domains",
        sa.Column("sendid", sa.String(length=100), nullable=False),
        sa.Column("listid", sa.String(length=100), nullable=False),
        sa.Column("domain", sa.String(length=255), nullable=False),
        sa.Column("opens", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("clicks", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("unsubs", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("bounces", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("complaints", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("sendid", "listid", "domain", name="stats_domains_pkey"),
    )
    op.create_table(
        "stats_hours",
        sa.Column("sendid", sa.String(length=100), nullable=False),
        sa.Column("listid", sa.String(length=100), nullable=False),
        sa.Column("hour", sa.Integer(), nullable=False),
        sa.Column("clicks_human", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("clicks_machine", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("opens_human", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("opens_machine", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("unsubs", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("bounces", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("complaints", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("sendid", "listid", "hour", name="stats_hours_pkey"),
    )
    op.create_index("stats_hours__hour_idx", "stats_hours", ["hour"], unique=False)
    op.create_table(
        "stats_links",
        sa.Column("urlid", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("link_id", sa.String(length=100), nullable=False),
        sa.Column("clicks_human", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("clicks_machine", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("clicks_unique", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("clicks_unique_human", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("unsubs", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("urlid", "link_id", name="stats_links_pkey"),
    )
    op.create_table(
        "stats_seen",
        sa.Column("hash", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("flags", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("hash", name="stats_seen_pkey"),
    )
    op.create_table(
        "stats_sends",
        sa.Column("sendid", sa.String(length=100), nullable=False),
        sa.Column("listid", sa.String(length=100), nullable=False),
        sa.Column("mail_class", sa.String(length=100), nullable=False),
        sa.Column("first_ms", sa.BigInteger(), nullable=False),
        sa.Column("last_ms", sa.BigInteger(), nullable=False),
        sa.Column("clicks_human", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("clicks_machine", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("clicks_unique", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("clicks_unique_human", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("opens_human", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("opens_machine", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("opens_unique", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("opens_unique_human", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("opens_privacy", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("unsubs", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("bounces_hard", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("bounces_soft", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("bounces_other", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("bad_addresses", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("complaints", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("sendid", "listid", name="stats_sends_pkey"),
    )
    op.create_index("stats_sends__last_ms_idx", "stats_sends", ["last_ms"], unique=False)
    op.create_table(
        "suppressions",
        sa.Column("email_hash", sa.String(length=32), nullable=False),
        sa.Column("listid", sa.String(length=100), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.Column("time_ms", sa.BigInteger(), nullable=False),
        sa.Column("sendid", sa.String(length=100), nullable=False),
        sa.Column("bounce_type", sa.String(length=1), nullable=False),
        sa.Column("bounce_code", sa.Integer(), nullable=True),
        sa.Column("bounce_text", sa.Text(), nullable=False),
        sa.Column("event_id", sa.String(length=36), nullable=False),
        sa.PrimaryKeyConstraint("email_hash", "listid", name="suppressions_pkey"),
    )
    op.create_index("suppressions__time_ms_idx", "suppressions", ["time_ms"], unique=False)
    op.create_table(
        "users",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("totp_secret", sa.Text(), nullable=False),
        sa.Column("totp_step", sa.BigInteger(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="users_pkey"),
    )
