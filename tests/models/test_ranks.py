"""Gathers over the processes of a training run, with real processes."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing

from mvqlab.models.ranks import gather_over_ranks


def _gather(rank: int, port: int, folder: str) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=3)
    rows = torch.arange(2.0 * rank).view(rank, 2) + 100.0 * rank  # 0, 1 and 2 rows
    torch.save(gather_over_ranks(rows), Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def test_every_process_gets_all_rows_in_order_however_many_each_has(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(_gather, (port, str(tmp_path)), nprocs=3)
    for rank in range(3):
        found = torch.load(tmp_path / f"{rank}.pt")
        assert found.tolist() == [[100.0, 101.0], [200.0, 201.0], [202.0, 203.0]]


def test_one_process_gets_its_own_rows() -> None:
    rows = torch.ones(2, 3)
    assert gather_over_ranks(rows) is rows
