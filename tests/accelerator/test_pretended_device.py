"""The pretended accelerator itself: what it refuses, counts and computes."""

import pytest
import torch

from d2road.utils.uploads import upload_together
from tests.factories.pretended_device import TYPE


def test_computes_what_the_processor_computes(accelerator):
    x = torch.randn(3, 4)
    y = x.to(accelerator.device).requires_grad_()
    assert y.device == accelerator.device and torch.zeros(2, device=accelerator.device).device.type == TYPE
    (y.softmax(1) @ y.T).sum().backward()
    z = x.clone().requires_grad_()
    (z.softmax(1) @ z.T).sum().backward()
    torch.testing.assert_close(y.grad.cpu(), z.grad)


def test_tensors_of_two_devices_do_not_meet(accelerator):
    x = torch.ones(3, device=accelerator.device)
    for wrong in (lambda: x + torch.ones(3), lambda: torch.cat([x, torch.ones(1)]), lambda: x @ torch.ones(3)):
        with pytest.raises(RuntimeError, match="same device"):
            wrong()
    assert (x + torch.tensor(2.0) + 1)[torch.tensor([0, 2])].sum().item() == 8
    with pytest.raises(TypeError, match="cpu"):
        x.numpy()


def test_waits_uploads_and_launches_are_counted_with_their_lines(accelerator):
    with accelerator.measured() as cost:
        x = torch.arange(6.0).to(accelerator.device)
        y = (x.view(2, 3).T * 2).flatten()
        assert cost.launches == 2 and len(cost.uploads) == 1 and not cost.waits  # mul, and a copy for the new layout
        y[x > 2], x.sum().item(), x.cpu(), x.tolist(), (x > 1).nonzero()
    names = [place.split()[0] for place in cost.waits]
    assert names == ["index", "_local_scalar_dense", "_to_copy", "tolist", "nonzero"]
    assert all("test_pretended_device.py:" in place for place in cost.waits)


def test_a_captured_graph_holds_no_wait_and_no_copy(accelerator):
    x = torch.ones(3, device=accelerator.device)
    with accelerator.captured():
        x.mul_(2)
        with pytest.raises(RuntimeError, match="waits for the device"):
            x.sum().item()
        with pytest.raises(RuntimeError, match="copies from the host"):
            torch.tensor([1.0], device=accelerator.device)
    assert x.sum().item() == 6


def test_autocast_by_the_lists_of_cuda(accelerator):
    x = torch.ones(3, 3, device=accelerator.device)
    with torch.autocast(TYPE, torch.bfloat16):
        assert (x @ x).dtype == torch.bfloat16
        assert (x @ x).softmax(0).dtype == torch.float32
        assert (x.double() @ x.double()).dtype == torch.float64


def test_the_gradient_of_silu_is_one_launch_and_right(accelerator):
    x = torch.randn(5)
    y, z = x.to(accelerator.device).requires_grad_(), x.clone().requires_grad_()
    out = torch.nn.functional.silu(y)
    with accelerator.measured() as cost:
        out.backward(torch.ones(5, device=accelerator.device))
    assert cost.by_operation["silu_backward"] == 1 and cost.launches <= 2, cost
    torch.nn.functional.silu(z).sum().backward()
    torch.testing.assert_close(y.grad.cpu(), z.grad)


def test_tensors_go_to_the_device_together(accelerator):
    parts = [torch.arange(6.0).view(2, 3), torch.tensor([5, 7]), torch.ones(2), torch.zeros(0, 4), torch.tensor(True)]
    with accelerator.measured() as cost:
        moved = upload_together(parts, accelerator.device)
    assert len(cost.uploads) == 3 and not cost.launches and not cost.waits, cost  # one a type
    for there, here in zip(moved, parts, strict=True):
        assert there.device == accelerator.device and there.dtype == here.dtype and torch.equal(there.cpu(), here)
