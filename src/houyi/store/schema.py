"""What all tables share: their metadata, and the columns that most of them have."""

from sqlalchemy import BigInteger, Column, Float, MetaData

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def revision_column() -> Column[int]:
    return Column("revision", BigInteger, nullable=False)


def created_column() -> Column[float]:
    return Column("created_at", Float(53), nullable=False)
