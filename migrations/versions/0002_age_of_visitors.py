"""The day on which a visitor was last counted as unique, so that old ones can be forgotten."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    day = sa.Column("day", sa.Integer(), server_default="0", nullable=False)
    op.add_column("stats_seen", day)
    op.create_index("stats_seen__day_idx", "stats_seen", ["day"], unique=False)
