"""What the processor can do, as torch says."""

import platform

import torch


def multiplies_bfloat16() -> bool:
    """Return whether the processor multiplies matrices in bfloat16: AMX, or AVX-512 with BF16.

    Others convert to float32 and back, which is slower than float32 alone.
    """
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get('amx_bf16') or capabilities.get('avx512_bf16'))


def describe_processor() -> str:
    """Return name, instruction set and threads, for people: 'AMD EPYC (AVX2, no bfloat16), 2 threads'."""
    capabilities = torch.cpu.get_capabilities()
    name = capabilities.get('cpu_name') or platform.processor() or platform.machine()
    if capabilities.get('amx_bf16'):
        bfloat16 = 'bfloat16 by AMX'
    elif capabilities.get('avx512_bf16'):
        bfloat16 = 'bfloat16 by AVX-512'
    else:
        bfloat16 = 'no bfloat16'
    threads = torch.get_num_threads()
    instructions = torch.backends.cpu.get_cpu_capability()
    return f'{name} ({instructions}, {bfloat16}), {threads} thread{"s" if threads > 1 else ""}'
