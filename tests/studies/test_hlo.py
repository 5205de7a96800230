"""What is read from a compiled program's text: by hand, and of programs of this CPU."""

import jax
import jax.numpy as jnp
import pytest

from msa_jax.studies.bench import hlo

TEXT = """\
HloModule jit_f, is_scheduled=true, entry_computation_layout={(f32[4,8]{1,0})->f32[4,8]{1,0}}

%fused (param_0: f32[10,4,8], param_1: s32[]) -> f32[1,4,8] {
  %param_0 = f32[10,4,8]{2,1,0} parameter(0)
  %param_1 = s32[] parameter(1)
  ROOT %cut = f32[1,4,8]{2,1,0} dynamic-slice(%param_0, %param_1, %param_1, %param_1), dynamic_slice_sizes={1,4,8}
}

%put (p.0: f32[10,4,8], p.1: f32[1,4,8], p.2: s32[]) -> f32[10,4,8] {
  %p.0 = f32[10,4,8]{2,1,0} parameter(0)
  %p.1 = f32[1,4,8]{2,1,0} parameter(1)
  %p.2 = s32[] parameter(2)
  ROOT %new = f32[10,4,8]{2,1,0} dynamic-update-slice(%p.0, %p.1, %p.2, %p.2, %p.2)
}

%inner_body (t: (s32[], f32[4,8])) -> (s32[], f32[4,8]) {
  %t = (s32[], f32[4,8]{1,0}) parameter(0)
  %x = f32[4,8]{1,0} get-tuple-element(%t), index=1
  %i = s32[] get-tuple-element(%t), index=0
  %sum = f32[4,8]{1,0} all-reduce(%x), channel_id=1, to_apply=%add
  ROOT %r = (s32[], f32[4,8]{1,0}) tuple(%i, %sum)
}

%inner_condition (t.1: (s32[], f32[4,8])) -> pred[] {
  %t.1 = (s32[], f32[4,8]{1,0}) parameter(0)
  %i.1 = s32[] get-tuple-element(%t.1), index=0
  %limit = s32[] constant(5)
  ROOT %below = pred[] compare(%i.1, %limit), direction=LT
}

%outer_body (u: (s32[], f32[4,8], f32[10,4,8])) -> (s32[], f32[4,8], f32[10,4,8]) {
  %u = (s32[], f32[4,8]{1,0}, f32[10,4,8]{2,1,0}) parameter(0)
  %i.2 = s32[] get-tuple-element(%u), index=0
  %many = f32[10,4,8]{2,1,0} get-tuple-element(%u), index=2
  %one = f32[1,4,8]{2,1,0} fusion(%many, %i.2), kind=kLoop, calls=%fused
  %more = f32[10,4,8]{2,1,0} fusion(%many, %one, %i.2), kind=kLoop, calls=%put
  %most = f32[10,4,8]{2,1,0} dynamic-update-slice(%more, %one, %i.2, %i.2, %i.2)
  %y = f32[4,8]{1,0} bitcast(%one)
  %start = (s32[], f32[4,8]{1,0}) tuple(%i.2, %y)
  %loop = (s32[], f32[4,8]{1,0}) while(%start), condition=%inner_condition, body=%inner_body
  %unknown = (s32[], f32[4,8]{1,0}) while(%loop), condition=%other, body=%inner_body
  %z = f32[4,8]{1,0} get-tuple-element(%unknown), index=1
  ROOT %out = (s32[], f32[4,8]{1,0}, f32[10,4,8]{2,1,0}) tuple(%i.2, %z, %most)
}

%other (t.2: (s32[], f32[4,8])) -> pred[] {
  %t.2 = (s32[], f32[4,8]{1,0}) parameter(0)
  %i.3 = s32[] get-tuple-element(%t.2), index=0
  ROOT %below.1 = pred[] compare(%i.3, %i.3), direction=LT
}

ENTRY %main (a: f32[4,8], b: f32[10,4,8]) -> f32[4,8] {
  %a = f32[4,8]{1,0} parameter(0)
  %b = f32[10,4,8]{2,1,0} parameter(1)
  %zero = s32[] constant(0)
  %state = (s32[], f32[4,8]{1,0}, f32[10,4,8]{2,1,0}) tuple(%zero, %a, %b)
  %epoch = (s32[], f32[4,8]{1,0}, f32[10,4,8]{2,1,0}) while(%state), condition=%c, body=%outer_body, backend_config={"known_trip_count":{"n":"3"}}
  ROOT %last = f32[4,8]{1,0} copy(%a)
}
"""  # noqa: E501


def test_kernels_bytes_and_what_is_sent_are_counted_by_loop():
    """A slice counts as a slice: 128 bytes read, 128 written, and an index of 4."""
    whole = hlo.loops(TEXT, most=7)
    (epoch,) = whole.inner
    assert (epoch.trips, epoch.known) == (3, True)
    assert [(x.trips, x.known) for x in epoch.inner] == [(5, True), (7, False)]
    assert [x.kernels for x in epoch.inner] == [1, 1]
    assert epoch.kernels == 3 + 5 + 7
    assert whole.kernels == 3 * 15 + 1
    each = 128
    cut, put, sent = 2 * each + 4, 2 * each + 4, 2 * each
    plain = 2 * each + 3 * 4
    assert epoch.moved == cut + put + plain + 12 * sent
    assert whole.moved == 3 * epoch.moved + 2 * each
    assert epoch.collectives == {"all-reduce": (12, 12 * each)}
    assert whole.collectives == {"all-reduce": (36, 36 * each)}
    assert hlo.nested(whole) == "3 x (5, <=7)"
    assert hlo.heaviest(whole, 3) == epoch
    assert hlo.heaviest(whole, 5) == epoch.inner[0]
    assert hlo.heaviest(whole, 7) is None  # its trips are not known


@pytest.mark.parametrize(
    ("kind", "true", "padded"),
    [
        ("f32[3,5]{1,0:T(8,128)}", 60, 8 * 128 * 4),
        ("f32[3,5]{0,1:T(8,128)}", 60, 8 * 128 * 4),
        ("f32[2,16,256]{2,1,0:T(8,128)}", 32768, 32768),
        ("f32[16,2,256]{2,0,1:T(8,128)S(1)}", 32768, 32768),  # the 2 is outermost
        ("u16[100,2]{1,0:T(8,128)(2,1)}", 400, 104 * 128 * 2),
        ("pred[5]{0:T(512)(128)(4,1)}", 5, 512),
        ("s32[]{:T(128)}", 4, 512),
        ("(f32[3]{0:T(128)}, bf16[4]{0})", 12 + 8, 512 + 8),
        ("f32[3,5]{1,0}", 60, 60),
    ],
)
def test_tiles_pad_the_last_axes_of_the_layout(kind, true, padded):
    assert hlo.size_of(kind, tiles=False) == true
    assert hlo.size_of(kind) == padded


def test_the_worst_padding_is_of_what_lies_in_memory():
    """What a fusion holds inside lies in registers."""
    text = """
%fused (p: f32[8,128]) -> f32[8,128] {
  %p = f32[8,128]{1,0:T(8,128)} parameter(0)
  %hidden = f32[8,1]{1,0:T(8,128)} slice(%p)
  ROOT %r = f32[8,128]{1,0:T(8,128)} broadcast(%hidden)
}

ENTRY %main (a: f32[8,128]) -> f32[8,128] {
  %a = f32[8,128]{1,0:T(8,128)} parameter(0)
  %half = f32[8,64]{1,0:T(8,128)} slice(%a)
  %pair = f32[8,2]{1,0:T(8,128)} slice(%a)
  ROOT %b = f32[8,128]{1,0:T(8,128)} fusion(%a), kind=kLoop, calls=%fused
}
"""
    worst = hlo.worst_padding(text, above=0)
    assert worst == ("f32[8,2]{1,0:T(8,128)}", 4096, 64)
    assert hlo.worst_padding(text, above=4096) is None


def test_a_program_of_this_machine_is_read():
    def epoch(x, rows):
        def step(x, row):
            return jax.lax.fori_loop(0, row.astype(int), lambda _, x: x @ x, x), x.sum()

        return jax.lax.scan(step, x, rows)

    x, rows = jnp.ones((16, 16)), jnp.arange(4.0)
    whole = hlo.loops(jax.jit(epoch).lower(x, rows).compile().as_text(), most=9)
    steps = hlo.heaviest(whole, 4)
    assert steps is not None and steps.kernels >= 9
    assert [(x.trips, x.known) for x in steps.inner] == [(9, False)]
