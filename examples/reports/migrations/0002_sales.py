"""A year of sales to work on: always the same numbers."""

from __future__ import annotations

import random
from typing import Any

from django.db import migrations

PRODUCTS, SALES = 60, 3_000


def sell(apps: Any, schema_editor: Any) -> None:
    """Write products and sales."""
    product_model, sale_model = apps.get_model("reports", "Product"), apps.get_model("reports", "Sale")
    dice = random.Random(8)
    products = product_model.objects.bulk_create(
        product_model(sku=f"item-{number:03}", stock=dice.randint(0, 500)) for number in range(PRODUCTS)
    )
    sale_model.objects.bulk_create(
        (
            sale_model(
                product=dice.choice(products),
                region=dice.choice(("north", "east", "south", "west")),
                month=dice.randint(1, 12),
                cents=dice.randint(500, 50_000),
            )
            for _ in range(SALES)
        ),
        batch_size=500,
    )


def clear(apps: Any, schema_editor: Any) -> None:
    """Delete them again."""
    apps.get_model("reports", "Sale").objects.all().delete()
    apps.get_model("reports", "Product").objects.all().delete()


class Migration(migrations.Migration):
    """Fill the shop."""

    dependencies = (("reports", "0001_initial"),)
    operations = (migrations.RunPython(sell, clear),)
