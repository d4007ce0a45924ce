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
    dist.init_process_group("gloo", rank=rank, world_size=2)
    found = []
    for n in ((0, 2), (3, 1)):
        rows = torch.arange(2.0 * n[rank]).view(n[rank], 2) + 100.0 * (rank + 1)
        found.append(gather_over_ranks(rows))
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def test_every_process_gets_all_rows_in_order_however_many_each_has(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(_gather, (port, str(tmp_path)), nprocs=2)
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt")
        assert found[0].tolist() == [[200.0, 201.0], [202.0, 203.0]]
        assert found[1].tolist() == [[100.0, 101.0], [102.0, 103.0], [104.0, 105.0], [200.0, 201.0]]


def test_one_process_gets_its_own_rows() -> None:
    rows = torch.ones(2, 3)
    assert gather_over_ranks(rows) is rows
