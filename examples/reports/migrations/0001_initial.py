"""The tables: products, sales, and one table for each kind of task, all with the columns of StreamTask."""

from __future__ import annotations

import django.db.models.deletion
from django.db import migrations, models

STATES = [(state, state.capitalize()) for state in ("queued", "running", "completed", "failed", "cancelled")]
TASKS = (
    "AnnualReport",
    "CsvExport",
    "FeedDigest",
    "PriceCheck",
    "ProductImport",
    "SalesReport",
    "StockAudit",
    "WarehouseSync",
)


def key() -> tuple[str, models.Field]:
    """Return the primary key's column."""
    return "id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")


def task(name: str) -> migrations.CreateModel:
    """Return the creation of a kind of task."""
    fields = [
        key(),
        ("state", models.CharField(choices=STATES, default="queued", max_length=10)),
        ("seconds", models.FloatField(help_text="About how long the task takes.")),
        ("created_at", models.DateTimeField(auto_now_add=True)),
        ("started_at", models.DateTimeField(null=True)),
        ("completed_at", models.DateTimeField(null=True)),
        ("lease_until", models.DateTimeField(null=True)),
        ("cancel_requested", models.BooleanField(default=False)),
        ("final_value", models.JSONField(null=True)),
        ("error", models.TextField(default="")),
    ]
    return migrations.CreateModel(name=name, fields=fields, options={"abstract": False})


class Migration(migrations.Migration):
    """Create everything."""

    initial = True
    dependencies = ()
    operations = (
        *(task(name) for name in TASKS),
        migrations.CreateModel(
            name="Product",
            fields=[
                key(),
                ("sku", models.CharField(max_length=20, unique=True)),
                ("stock", models.IntegerField()),
                ("counted", models.IntegerField(default=0)),
            ],
        ),
        migrations.CreateModel(
            name="Sale",
            fields=[
                key(),
                ("region", models.CharField(db_index=True, max_length=10)),
                ("month", models.PositiveSmallIntegerField()),
                ("cents", models.PositiveIntegerField()),
                (
                    "product",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="sales",
                        to="reports.product",
                    ),
                ),
            ],
        ),
    )
