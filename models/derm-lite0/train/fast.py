"""Training an EfficientNet-Lite on a CPU, two to three times as fast as PyTorch does by itself (see fast.cpp).

Values are [n, height, width, channels], in bfloat16 where the processor multiplies that faster, otherwise in float32;
weights are float32. `usable()` tells whether this machine can: it needs a C++ compiler that knows OpenMP. Without one,
training goes by PyTorch's own operators. What was compiled is compared with them first.
"""

import ctypes
import functools
import pathlib
import subprocess
import tempfile

import torch
import torch.nn.functional as F

HERE = pathlib.Path(__file__).parent


@functools.cache
def library():
    """fast.cpp, compiled for this machine; None where there is no compiler.

    It is not linked with an OpenMP runtime of its own: PyTorch's, loaded before, serves it, so that both share
    their threads.
    """
    out = pathlib.Path(tempfile.mkdtemp()) / "fast.so"
    command = [
        "g++",
        "-std=c++17",
        "-O3",
        "-march=native",
        "-ffp-contract=fast",
        "-fno-trapping-math",
        "-fno-math-errno",
    ]
    try:
        subprocess.run(
            [*command, "-fopenmp", "-fPIC", "-c", HERE / "fast.cpp", "-o", out.with_suffix(".o")], check=True
        )
        subprocess.run(["g++", "-shared", out.with_suffix(".o"), "-o", out], check=True)
        return ctypes.CDLL(str(out))
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"no fast operators, training will take more than twice as long: {error}")
        return None


def keep_memory():
    """Has malloc keep what is freed. By itself it gives blocks of megabytes back to the kernel, which hands them out
    again page by page, filled with zeros: half of a training step's time. For glibc (mallopt(3)); does nothing elsewhere."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        trim_threshold, top_pad, mmap_max = -1, -2, -4
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, -1)
        mallopt(top_pad, 256 << 20)


def bfloat16():
    """Whether this processor multiplies bfloat16 faster than float32: with AVX2 alone it takes five times as long."""
    return torch.backends.cpu.get_cpu_capability().startswith("AVX512")


@functools.cache
def usable():
    if library() is None:
        return False
    check()
    return True


def element():
    """The type of the values between operators."""
    return torch.bfloat16 if bfloat16() else torch.float32


def call(function, *arguments):
    """The function for the type of the first tensor. Tensors go as pointers, integers as they are, floats as float32."""
    values = next(a for a in arguments if isinstance(a, torch.Tensor))
    out = []
    for a in arguments:
        if isinstance(a, torch.Tensor):
            assert a.is_contiguous()
            out.append(ctypes.c_void_p(a.data_ptr()))
        elif isinstance(a, float):
            out.append(ctypes.c_float(a))
        else:
            out.append(a)
    getattr(library(), f"{function}_{str(values.dtype).removeprefix('torch.')}")(*out)


class Depthwise(torch.autograd.Function):
    """Depthwise convolution, "same" padding: x [n, h, w, c], weight [c, 1, k, k] -> [n, h/s, w/s, c]."""

    @staticmethod
    def forward(ctx, x, weight, stride):
        n, h, w, c = x.shape
        assert c % 8 == 0 and h % stride == 0 and w % stride == 0
        taps = weight.detach().float().permute(2, 3, 1, 0).contiguous()
        y = x.new_empty(n, h // stride, w // stride, c)
        ctx.shape = (n, h, w, c, weight.shape[2], stride)
        ctx.save_for_backward(x, taps)
        call("depthwise_forward", *ctx.shape, x, taps, y)
        return y

    @staticmethod
    def backward(ctx, gy):
        x, taps = ctx.saved_tensors
        gx, gw = torch.empty_like(x), torch.empty_like(taps)
        call("depthwise_backward", *ctx.shape, x, taps, gy.contiguous(), gx, gw)
        return gx, gw.permute(3, 2, 0, 1), None


class Norm(torch.autograd.Function):
    """Batch normalisation by the batch's own mean and variance, ReLU6 or not.

    Returns (y, mean [c], variance [c], biased).
    """

    @staticmethod
    def forward(ctx, x, gamma, beta, eps, relu6):
        c = x.shape[-1]
        assert c % 8 == 0
        y, mean, variance = (
            torch.empty_like(x),
            x.new_empty(c, dtype=torch.float32),
            x.new_empty(c, dtype=torch.float32),
        )
        ctx.sizes = (ctypes.c_int64(x.numel() // c), c)
        ctx.how = (eps, int(relu6))
        ctx.save_for_backward(x, gamma, beta, mean, variance)
        call("norm_forward", *ctx.sizes, x, gamma.detach(), beta.detach(), *ctx.how, y, mean, variance)
        ctx.mark_non_differentiable(mean, variance)
        return y, mean, variance

    @staticmethod
    def backward(ctx, gy, *_):
        x, gamma, beta, mean, variance = ctx.saved_tensors
        gy = gy.contiguous()
        gx, ggamma, gbeta = torch.empty_like(x), torch.empty_like(gamma), torch.empty_like(beta)
        call("norm_backward", *ctx.sizes, x, gy, gamma, beta, *ctx.how, mean, variance, gx, ggamma, gbeta)
        return gx, ggamma, gbeta, None, None


def norm(layer, x, relu6):
    y, mean, variance = Norm.apply(x, layer.weight, layer.bias, layer.eps, relu6)
    count = x.numel() // x.shape[-1]
    layer.running_mean.lerp_(mean, layer.momentum)
    layer.running_var.lerp_(variance * (count / (count - 1)), layer.momentum)
    return y


def pointwise(layer, x):
    return F.linear(x, layer.weight.flatten(1).to(x.dtype))


def kept(x, share):
    """Each picture's values, of a residual branch, kept with probability `share`, or none of them (stochastic depth)."""
    return x * ((torch.rand(len(x), 1, 1, 1) < share) / share).to(x.dtype)


def features(backbone, x):
    """What `backbone.extract_features` gives while training, averaged over its places: [n, 3, h, w] -> [n, c]."""
    x = F.pad(x, (0, 1, 0, 1)).to(element(), memory_format=torch.channels_last)
    x = F.conv2d(x, backbone._conv_stem.weight.to(x.dtype), stride=2).permute(0, 2, 3, 1).contiguous()
    x = norm(backbone._bn0, x, True)
    for number, block in enumerate(backbone._blocks):
        skip = x
        if hasattr(block, "_expand_conv"):
            x = norm(block._bn0, pointwise(block._expand_conv, x), True)
        stride = block._depthwise_conv.stride[0]
        x = norm(block._bn1, Depthwise.apply(x, block._depthwise_conv.weight, stride), True)
        x = norm(block._bn2, pointwise(block._project_conv, x), False)
        if x.shape == skip.shape:
            x = kept(x, 1 - backbone._global_params.drop_connect_rate * number / len(backbone._blocks)) + skip
    x = norm(backbone._bn1, pointwise(backbone._conv_head, x), True)
    return x.float().mean((1, 2))


@torch.enable_grad()
def check():
    """Values and gradients are PyTorch's, to what the type can hold of them."""
    random = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=random)

    def same(ours, theirs, what):
        error = (ours.float() - theirs).abs().max() / theirs.abs().max()
        assert error < (0.01 if bfloat16() else 1e-5), f"{what} is wrong: {error}"

    for channels, side, kernel, stride in ((32, 16, 3, 1), (96, 16, 3, 2), (24, 12, 5, 1), (144, 12, 5, 2)):
        x = normal(2, side, side, channels).to(element()).requires_grad_()
        weight = normal(channels, 1, kernel, kernel).requires_grad_()
        wide, wide_weight = x.detach().float().requires_grad_(), weight.detach().clone().requires_grad_()
        before = (kernel - stride) // 2
        border = (before, kernel - stride - before) * 2
        padded = F.pad(wide.permute(0, 3, 1, 2), border)
        theirs = F.conv2d(padded, wide_weight, stride=stride, groups=channels).permute(0, 2, 3, 1)
        ours = Depthwise.apply(x, weight, stride)
        same(ours, theirs, "a depthwise convolution")
        up = normal(*theirs.shape).to(element())
        ours.backward(up)
        theirs.backward(up.float())
        same(x.grad, wide.grad, "its gradient to the input")
        same(weight.grad, wide_weight.grad, "its gradient to the weights")
    for relu6 in (True, False):
        layer = torch.nn.BatchNorm2d(40)
        layer.weight.data, layer.bias.data = normal(40) + 2, normal(40)
        x = (3 * normal(4, 8, 8, 40) + 1).to(element()).requires_grad_()
        wide, gamma, beta = x.detach().float().requires_grad_(), layer.weight, layer.bias
        theirs = layer(wide.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        theirs = theirs.clamp(0, 6) if relu6 else theirs
        ours, mean, _ = Norm.apply(x, gamma, beta, layer.eps, relu6)
        same(ours, theirs, "batch normalisation")
        same(mean, wide.detach().mean((0, 1, 2)), "its mean")
        up = normal(*theirs.shape).to(element())
        found = torch.autograd.grad(ours, (x, gamma, beta), up)
        wanted = torch.autograd.grad(theirs, (wide, gamma, beta), up.float())
        for ours, theirs in zip(found, wanted, strict=False):
            same(ours, theirs, "a gradient of batch normalisation")
