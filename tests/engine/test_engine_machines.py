"""One list, many processors: the same bits wherever products fuse, rounding elsewhere, and no call of a library."""

import ctypes
import re
from functools import partial

import llvmlite.binding as llvm
import numpy as np
import pytest
import torch

import sdesam as ss
from sdesam.engine.eager import UNIT
from sdesam.engine.llvm import compilation, native
from sdesam.engine.llvm.compilation import numbers_at_run_time
from sdesam.engine.llvm.cpu import fused_values
from sdesam.engine.llvm.lanes import SLOT
from sdesam.engine.llvm.printer import ARRAYS, module_of
from sdesam.engine.llvm.runtime import runtime_module
from sdesam.engine.llvm.trial import aligned, run_unit
from sdesam.engine.streams import Streams
from sdesam.engine.tracing.listed import listing_of
from sdesam.engine.tracing.programs import Program
from sdesam.theory import monzio_compagnoni2023 as mc23

T = torch.float64
F = ss.TanhNetwork()
G = ss.GaussianOracle(F, 0.3)
SAM = ss.optimizer(partial(ss.sam, rho=0.1), G, 0.05)
SDE = mc23.sam_sde(G, eta=0.05, rho=0.1)
PAIR = ss.coupled(SAM, ss.subcycle(ss.small_noise_srk(SDE, 0.05 / 4), 4))
DEAR = {"SAM with its SDE", "SDE of DNSAM"}  # their siblings see the same faults at a tenth of the cost
X86 = {"x86-64-v2": False, "haswell": True, "skylake-avx512": True, "znver4": True}  # whether products fuse
ARM = "aarch64-unknown-linux-gnu"


def far(x):
    """Arguments of sine and cosine of all sizes."""
    return torch.sin(3e9 * x[..., 0] * x[..., 1]) + torch.cos(1e3 * x[..., 0]) + torch.exp(x[..., 1]).log1p()


KERNELS = {
    "SAM": (SAM, F),
    "SAM with its SDE": (PAIR, ss.difference(F)),
    "SDE of DNSAM": (ss.euler_maruyama(mc23.dnsam_sde(G, eta=0.05, rho=0.1), 0.05), F),
    "far": (ss.optimizer(ss.sgd, ss.GaussianOracle(far, 0.1, dim=2), 1e-12), far),
    "thirds": (ss.optimizer(lambda g, x, z: g(x, z) / 3 + x / 7, G, 0.05), F),
}


def cases(*names):
    """Names of kernels, those that compile for long marked slow."""
    return [pytest.param(n, marks=[pytest.mark.slow] if n in DEAR else []) for n in names or KERNELS]


def traced(name, dtype=T):
    kernel, phi = KERNELS[name]
    return listing_of(kernel, torch.tensor([1.0, 1.2], dtype=dtype), {"phi": phi}, {})


def target(triple, cpu, jit=False):
    native.machine_fuses()  # LLVM is set up
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    kind = "jitdefault" if jit else "default"
    return llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, opt=2, jit=jit, codemodel=kind)


def code_for(name, bits, triple, cpu):
    """The optimised module for a processor, and its machine."""
    machine = target(triple, cpu)
    text, _ = module_of(traced(name, T if bits == 64 else torch.float32), bits, fuses=native._fuses(machine))
    return native.optimised(text, machine, triple), machine


def calls_in(module, machine):
    """Every function that the machine code calls or jumps to, but its own."""
    assembly = machine.emit_assembly(module)
    named = set(re.findall(r"^\s+(?:callq?|jmp|bl|b)\s+\*?([A-Za-z_][\w@.]*)", assembly, re.M))
    return {n.split("@")[0] for n in named if not re.match(r"\.?LBB", n)} - {"quarters", "_quarters"}


# ----------------------------------------------------------------- what no machine changes
def body(module):
    return "\n".join(line for line in str(module).splitlines() if not line.startswith(("target", "source", ";")))


@pytest.mark.parametrize("name", cases())
@pytest.mark.parametrize("bits", [64, pytest.param(32, marks=pytest.mark.slow)])
def test_the_text_that_is_compiled_is_one_for_all_processors_that_fuse(name, bits):
    wide = [cpu for cpu, fuses in X86.items() if fuses]
    texts = {body(code_for(name, bits, "x86_64-unknown-linux-gnu", cpu)[0]) for cpu in wide}
    assert len(texts) == 1
    assert "contract" not in texts.pop()


@pytest.mark.parametrize(("triple", "cpu"), [*(("x86_64-unknown-linux-gnu", cpu) for cpu in X86), (ARM, "generic"),
                                         (ARM, "neoverse-n1"), ("arm64-apple-macosx14", "apple-m1")])  # fmt: skip
@pytest.mark.parametrize("name", cases("SAM with its SDE", "far", "thirds"))
def test_compiled_lists_call_nothing_outside(name, triple, cpu):
    module, machine = code_for(name, 64, triple, cpu)
    assert not calls_in(module, machine)
    assert native._fuses(machine) == X86.get(cpu, True)


@pytest.mark.parametrize(("triple", "cpu"), [("x86_64-unknown-linux-gnu", "haswell"), (ARM, "generic")])
def test_the_runtime_copies_memory_and_calls_nothing_else(triple, cpu):
    machine = target(triple, cpu)
    own = {"seed", "reduce", "exits"}
    assert calls_in(native.optimised(runtime_module(), machine, triple), machine) - own <= {"memcpy"}


def test_a_call_of_the_library_would_be_seen():
    """A fused product on a processor without one is such a call."""
    machine = target("x86_64-unknown-linux-gnu", "x86-64-v2")
    text, _ = module_of(traced("SAM"), 64, fuses=True)
    assert calls_in(native.optimised(text, machine, "x86_64-unknown-linux-gnu"), machine) == {"fma"}


# ----------------------------------------------------------------- numbers
def here():
    """This processor, or one of its kind that fuses where code is made for one that does not."""
    return native.machine_name() if native.machine_fuses() else "x86-64-v3"


def values_on(processor, name, dtype, monkeypatch, tmp_path, steps=20):
    """The observable of every replicate after some steps, by code for a processor."""
    machine = target(llvm.get_default_triple(), processor, jit=True)
    with monkeypatch.context() as patch:
        patch.setattr(native, "_machine", lambda: (machine, f"any {processor} none"))
        patch.setenv("SDESAM_CACHE", str(tmp_path))
        patch.setattr(compilation, "_KEPT", {})
        fused = compilation.Fused.of(traced(name, dtype), dtype)
        assert not fused.code.cached

    def start(first, rows, streams):
        return torch.tensor([1.0, 1.2], dtype=dtype).expand(rows, -1).clone()

    return fused_values(fused, start, range(UNIT), saved=np.array([0, steps]), seed=1)[1, 1]


HAS = native.host_features().get
needs = {
    "haswell": pytest.mark.skipif(not (HAS("avx2") and HAS("fma")), reason="no x86 with AVX2"),
    "skylake-avx512": pytest.mark.skipif(not HAS("avx512vl"), reason="no AVX-512 here"),
}


@pytest.mark.parametrize("name", cases())
@pytest.mark.parametrize("dtype", [T, torch.float32])
@pytest.mark.parametrize("other", [pytest.param(cpu, marks=mark) for cpu, mark in needs.items()])
def test_processors_that_fuse_give_the_same_bits(name, dtype, other, monkeypatch, tmp_path):
    one, two = (values_on(cpu, name, dtype, monkeypatch, tmp_path / cpu) for cpu in (here(), other))
    np.testing.assert_array_equal(one, two)


@needs["haswell"]
@pytest.mark.parametrize("name", cases("SAM", "thirds", *sorted(DEAR)))  # "far" multiplies a rounding by 10^10 a step
def test_a_processor_that_does_not_fuse_agrees_to_rounding(name, monkeypatch, tmp_path):
    one, two = (values_on(cpu, name, T, monkeypatch, tmp_path / cpu) for cpu in (here(), "x86-64-v2"))
    np.testing.assert_allclose(one, two, rtol=1e-11, atol=1e-13)


@needs["haswell"]
def test_one_product_that_is_rounded_by_itself_is_seen(monkeypatch, tmp_path):
    """The plant: a list printed with one fused sum less."""
    right = values_on("haswell", "SAM", T, monkeypatch, tmp_path / "right")
    fused = Program.fused.func
    monkeypatch.setattr(Program, "fused", property(lambda self: dict(list(fused(self).items())[:-1])))
    planted = values_on("haswell", "SAM", T, monkeypatch, tmp_path / "planted")
    assert (right != planted).mean() > 0.01
    np.testing.assert_allclose(right, planted, rtol=1e-12)


# ----------------------------------------------------------------- ARM, emulated
def emulated(code, name, arguments):
    """Call a function of ARM machine code that LLVM has placed in this process, its memory as it lies here."""
    unicorn = pytest.importorskip("unicorn", reason="no emulator of ARM is installed: compiled, not run")
    from unicorn import arm64_const as arm

    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), target(ARM, "generic", jit=True))
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    processor = unicorn.Uc(unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM)

    def share(uc, access, address, size, value, data):
        page = address & ~0xFFF
        uc.mem_map_ptr(page, 0x1000, unicorn.UC_PROT_ALL, ctypes.c_void_p(page))
        return True

    processor.hook_add(unicorn.UC_HOOK_MEM_UNMAPPED, share)
    stack, end = aligned(1 << 16), aligned(1 << 12)
    processor.reg_write(arm.UC_ARM64_REG_CPACR_EL1, 3 << 20)  # vectors may be used
    top = stack.ctypes.data + (1 << 15)
    for i, value in enumerate(arguments):
        if i < 8:
            processor.reg_write(arm.UC_ARM64_REG_X0 + i, value)
        else:
            ctypes.c_int64.from_address(top + 8 * (i - 8)).value = value
    processor.reg_write(arm.UC_ARM64_REG_SP, top)
    processor.reg_write(arm.UC_ARM64_REG_LR, end.ctypes.data)
    processor.emu_start(engine.get_function_address(name), end.ctypes.data)


@pytest.mark.skipif(not native.machine_fuses(), reason="this machine does not fuse products")
@pytest.mark.parametrize("name", cases("SAM", "far", "SAM with its SDE"))
def test_arm_gives_the_bits_of_this_machine(name):
    model, rows = traced(name), 2
    numbers, streams = numbers_at_run_time(model, np.dtype(float)), Streams(seed=3, first=0, count=UNIT).state()
    x0 = torch.tensor([1.0, 1.2], dtype=T).expand(UNIT, -1).clone()
    state = np.ascontiguousarray(model.initial(x0).numpy())
    here = [state.copy(), streams.copy()]
    values = run_unit(compilation.Fused.of(model, T).code, numbers, *here, rows=rows, saves=1, every=3,
                      substeps=model.substeps)  # fmt: skip
    module, machine = code_for(name, 64, ARM, "generic")
    there = {**vars(numbers), "state": state, "rng": streams, "values": aligned(8 * UNIT * rows),
             "scratch": aligned(SLOT * module_of(model, 64)[1])}  # fmt: skip
    emulated(machine.emit_object(module), "run", [*(there[k].ctypes.data for k in ARRAYS), 1, 3, model.substeps, 0])
    for a, b in zip((*here, values.ravel()), (state, streams, there["values"].view(np.float64)), strict=True):
        np.testing.assert_array_equal(a, b)
