"""Exercises and tables, as many as are asked for, the same ones each time."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator


def exercises() -> Iterator[str]:
    """Yield sums with their steps, as a schoolbook has them."""
    rng = random.Random("exercises")
    things = [
        "apples",
        "pencils",
        "tickets",
        "bricks",
        "stamps",
        "marbles",
        "books",
        "chairs",
        "bottles",
        "litres",
    ]
    people = ["Anna", "Bilal", "Chen", "Dara", "Elif", "Femi", "Greta", "Hugo", "Ines", "Jonas"]
    while True:
        lines = []
        for number in range(1, 15):
            a, b, c = rng.randint(3, 60), rng.randint(2, 30), rng.randint(2, 12)
            who, what = rng.choice(people), rng.choice(things)
            match rng.randrange(5):
                case 0:
                    lines.append(
                        f"{number}. {who} has {a} {what} and buys {c} packs of {b}. How many are there now?\n"
                        f"   {c} × {b} = {c * b}; {a} + {c * b} = {a + c * b}. There are {a + c * b} {what}."
                    )
                case 1:
                    lines.append(f"{number}. Solve {c}x + {b} = {c * a + b}.\n   {c}x = {c * a}, so x = {a}.")
                case 2:
                    lines.append(f"{number}. What is {b} % of {a * 100}?\n   {b}/100 × {a * 100} = {a * b}.")
                case 3:
                    lines.append(
                        f"{number}. Expand (x + {b})(x − {c}).\n   x² − {c}x + {b}x − {b * c} = "
                        f"x² {'+' if b >= c else '−'} {abs(b - c)}x − {b * c}."
                    )
                case _:
                    lines.append(
                        f"{number}. A train covers {a * c} km in {c} hours. How fast is it, and how far does "
                        f"it get in {b} hours?\n   {a * c} / {c} = {a} km/h; {a} × {b} = {a * b} km."
                    )
        yield "\n".join(lines)


def tables() -> Iterator[str]:
    """Yield records: as JSON, as CSV, as a Markdown table, as YAML, in turn."""
    rng = random.Random("tables")
    towns = [
        "Lisbon",
        "Oslo",
        "Accra",
        "Lima",
        "Hanoi",
        "Quito",
        "Turin",
        "Perth",
        "Osaka",
        "Leeds",
        "Izmir",
        "Split",
    ]
    goods = ["lamp", "desk", "kettle", "cable", "jacket", "camera", "helmet", "drill", "carpet", "violin"]
    for number in range(200):
        rows = [
            {
                "id": rng.randint(1000, 99999),
                "item": rng.choice(goods),
                "town": rng.choice(towns),
                "price": rng.randint(199, 99999) / 100,
                "count": rng.randint(1, 40),
                "date": f"20{rng.randint(10, 26)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}",
                "paid": rng.random() < 0.7,
            }
            for _ in range(22)
        ]
        names = list(rows[0])
        match number % 4:
            case 0:
                yield json.dumps({"orders": rows[:14], "page": number, "next": None}, indent=2)
            case 1:
                yield "\n".join(
                    [",".join(names), *(",".join(str(row[name]) for name in names) for row in rows)]
                )
            case 2:
                head = [f"| {' | '.join(names)} |", "|" + " --- |" * len(names)]
                yield "\n".join(
                    [*head, *("| " + " | ".join(str(row[n]) for n in names) + " |" for row in rows)]
                )
            case _:
                records = ["\n  ".join(f"{name}: {row[name]}" for name in names) for row in rows[:16]]
                yield "\n".join("- " + record for record in records)
