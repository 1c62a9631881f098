"""The shop's data, and the kinds of task that work on it. Each kind shows one way in which tasks work or end."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import aclosing
from typing import Any

import httpx
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import models, transaction
from django.db.models import Count, F, Sum

from .streamtask import StreamTask


class Product(models.Model):
    """Something the shop sells."""

    sku = models.CharField(max_length=20, unique=True)
    stock = models.IntegerField()
    counted = models.IntegerField(default=0)


class Sale(models.Model):
    """One sale of one product."""

    product = models.ForeignKey(Product, on_delete=models.CASCADE, related_name="sales")
    region = models.CharField(max_length=10, db_index=True)
    month = models.PositiveSmallIntegerField()
    cents = models.PositiveIntegerField()


class SalesReport(StreamTask):
    """Succeeds, after a query for each region."""

    summary = "Adds up the sales of each region: one query a step, always succeeds."

    async def process(self) -> dict[str, int]:
        """Return the cents sold by region."""
        regions = [
            name async for name in Sale.objects.values_list("region", flat=True).distinct().order_by("region")
        ]
        totals = {}
        for step, region in enumerate(regions, 1):
            found = await Sale.objects.filter(region=region).aaggregate(cents=Sum("cents"))
            totals[region] = found["cents"]
            await self.send_event(
                "progress", {"step": step, "steps": len(regions), "message": f"{region} added up"}
            )
            await asyncio.sleep(self.seconds / len(regions))
        return totals


class AnnualReport(StreamTask):
    """Slow: a step for each month."""

    summary = "A slow one: twelve months, one after the other."
    default_seconds = 24.0

    async def process(self) -> dict[str, int]:
        """Return the number of sales by month."""
        months = {}
        for month in range(1, 13):
            months[str(month)] = await Sale.objects.filter(month=month).acount()
            await asyncio.sleep(self.seconds / 12)
            await self.send_event("progress", {"step": month, "steps": 12, "message": f"month {month} done"})
        return months


class BadRow(ValueError):
    """A line of an import that cannot be read."""


class ProductImport(StreamTask):
    """Fails: a line of the delivered file has no price."""

    summary = "Reads a delivered file whose fifth line is damaged: always fails."
    default_seconds = 2.0
    LINES = ("chair;4900", "table;12900", "lamp;3500", "shelf;8900", "stool;none", "desk;19900")

    async def process(self) -> int:
        """Return the number of lines read."""
        for number, line in enumerate(self.LINES, 1):
            await asyncio.sleep(self.seconds / len(self.LINES))
            sku, cents = self.parse(number, line)
            await self.send_event(
                "progress",
                {"step": number, "steps": len(self.LINES), "message": f"{sku} costs {cents / 100:.2f}"},
            )
        return len(self.LINES)

    @staticmethod
    def parse(number: int, line: str) -> tuple[str, int]:
        """Return name and price in cents, or raise BadRow."""
        sku, _, cents = line.partition(";")
        try:
            return sku, int(cents)
        except ValueError as error:
            raise BadRow(f"line {number}: {cents!r} is no price") from error


class WarehouseSync(StreamTask):
    """Goes on until somebody cancels it, or for ten minutes."""

    summary = "Follows the warehouse for up to ten minutes: made to be cancelled."
    default_seconds = 600.0

    async def process(self) -> int:
        """Return how often the warehouse was asked."""
        rounds = max(1, round(self.seconds))
        for number in range(1, rounds + 1):
            stock = await Product.objects.aaggregate(total=Sum("stock"))
            message = f"{stock['total']} pieces in stock"
            await self.send_event("progress", {"step": number, "steps": rounds, "message": message})
            await asyncio.sleep(1)
        return rounds


class FeedDigest(StreamTask):
    """Uses an async generator."""

    summary = "Reads a news feed by an async generator."
    FEED = ("Chairs sell out", "A desk for two", "Lamp recalled", "Shelves in oak", "Stools are back")

    async def headlines(self) -> AsyncIterator[str]:
        """Yield one headline after the other, as they come in."""
        for headline in self.FEED:
            await asyncio.sleep(self.seconds / len(self.FEED))
            yield headline

    async def process(self) -> list[str]:
        """Return the headlines in capitals."""
        digest: list[str] = []
        async with aclosing(self.headlines()) as headlines:
            async for headline in headlines:
                digest.append(headline.upper())
                await self.send_event(
                    "progress", {"step": len(digest), "steps": len(self.FEED), "message": headline}
                )
        return digest


class CsvExport(StreamTask):
    """Uses a synchronous generator, run in a thread a chunk at a time."""

    summary = "Writes sales as CSV by a synchronous generator, a chunk at a time."
    CHUNK, CHUNKS = 100, 6

    @classmethod
    def chunks(cls, rows: Iterable[tuple[Any, ...]]) -> Iterator[str]:
        """Yield CSV text of `CHUNK` rows each."""
        text = io.StringIO()
        writer = csv.writer(text)
        for number, row in enumerate(rows, 1):
            writer.writerow(row)
            if number % cls.CHUNK == 0:
                yield text.getvalue()
                text.seek(0)
                text.truncate()
        if text.tell():
            yield text.getvalue()

    async def process(self) -> dict[str, int]:
        """Return rows and bytes written."""
        sales = Sale.objects.order_by("pk").values_list("product__sku", "region", "month", "cents")
        chunks = self.chunks(sales[: self.CHUNK * self.CHUNKS].iterator())
        done = rows = size = 0
        # The generator reads the database, so it runs in Django's thread and not on the event loop.
        while (chunk := await sync_to_async(next)(chunks, None)) is not None:
            done, rows, size = done + 1, rows + chunk.count("\n"), size + len(chunk)
            await self.send_event(
                "progress", {"step": done, "steps": self.CHUNKS, "message": f"{rows} rows written"}
            )
            await asyncio.sleep(self.seconds / self.CHUNKS)
        return {"rows": rows, "bytes": size}


class PriceCheck(StreamTask):
    """Calls another HTTP service, which is busy now and then."""

    summary = "Asks the price service, over HTTP, for the price of eight products."
    PRODUCTS, ATTEMPTS = 8, 4

    async def process(self) -> dict[str, int]:
        """Return the price in cents by product."""
        prices: dict[str, int] = {}
        # An idle connection is not used when the service, after five seconds, may be closing it.
        limits = httpx.Limits(keepalive_expiry=2.0)
        async with httpx.AsyncClient(
            base_url=settings.PRICES_URL, timeout=20, limits=limits, trust_env=False
        ) as client:
            async for product in Product.objects.order_by("sku")[: self.PRODUCTS]:
                prices[product.sku] = await self.price(client, product.sku)
                message = f"{product.sku} costs {prices[product.sku] / 100:.2f}"
                await self.send_event(
                    "progress", {"step": len(prices), "steps": self.PRODUCTS, "message": message}
                )
                await asyncio.sleep(self.seconds / self.PRODUCTS)
        return prices

    async def price(self, client: httpx.AsyncClient, sku: str) -> int:
        """Return a price in cents; a busy service (503) is asked again."""
        for attempt in range(1, self.ATTEMPTS + 1):
            response = await client.get(f"/price/{sku}")
            if response.status_code != httpx.codes.SERVICE_UNAVAILABLE or attempt == self.ATTEMPTS:
                break
            await asyncio.sleep(0.05 * attempt)
        cents: int = response.raise_for_status().json()["cents"]
        return cents


class StockAudit(StreamTask):
    """Queries and changes the database in transactions, in a thread."""

    summary = "Counts the stock against the sales, in database transactions."
    BATCH = 10

    async def process(self) -> dict[str, int]:
        """Return the products counted, and how many of them sell well."""
        skus = [sku async for sku in Product.objects.order_by("sku").values_list("sku", flat=True)]
        batches = [skus[at : at + self.BATCH] for at in range(0, len(skus), self.BATCH)]
        busy = 0
        for step, batch in enumerate(batches, 1):
            busy += await self.count(batch)
            await self.send_event(
                "progress",
                {"step": step, "steps": len(batches), "message": f"{batch[0]} to {batch[-1]} counted"},
            )
            await asyncio.sleep(self.seconds / len(batches))
        return {"products": len(skus), "busy": busy}

    @staticmethod
    @sync_to_async
    def count(skus: list[str]) -> int:
        """Note that these products were counted; return how many of them had 50 sales or more."""
        with transaction.atomic():
            products = Product.objects.filter(sku__in=skus)
            products.update(counted=F("counted") + 1)
            return products.annotate(sold=Count("sales")).filter(sold__gte=50).count()


KINDS: tuple[type[StreamTask], ...] = (
    SalesReport,
    CsvExport,
    FeedDigest,
    PriceCheck,
    StockAudit,
    AnnualReport,
    ProductImport,
    WarehouseSync,
)
