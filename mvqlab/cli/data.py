"""The commands ``mvqlab data get | list``."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add the commands of the data sets to `parser`; each stores the function that runs it as `command`."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    get = commands.add_parser("get", help="fetch a data set, so that training finds it")
    get.add_argument("name", help="fashion, or a set of torchvision.datasets such as CIFAR10")
    get.add_argument("--root", type=Path, help="where to (data.root); default: data/ in mvqlab's cache")
    get.set_defaults(command=_get)

    table = commands.add_parser("list", help="list the data sets: licence, size, whether they are here")
    table.add_argument("--root", type=Path, help="where to look (data.root); default: as for get")
    table.set_defaults(command=_list)


def _get(options: argparse.Namespace) -> int:
    from mvqlab.data.catalogue import fetch

    print(fetch(options.name, options.root))
    return 0


def _list(options: argparse.Namespace) -> int:
    from mvqlab.data.catalogue import lines

    for line in lines(options.root):
        print(line)
    return 0
