# %% [markdown]
# # What T thresholds can realise
#
# :::{admonition} In this chapter
# :class: tip
# **You will learn** to find the exact staircase of a neuron whose threshold changes with time, five theorems about
# which staircases are possible, how to choose thresholds for the one that you want, and the best that $T$ spikes can
# do. Nothing here is in the paper; what is proved is called a theorem, what is only computed a conjecture.
#
# **Time:** 45 minutes to read, about half a minute to run on any laptop.
#
# **You need** [](05_nonuniform_thresholds.py) and [](12_limits.py).
# :::

# %%
from fractions import Fraction

import pandas as pd
import torch
from IPython.display import HTML, display
from matplotlib import pyplot as plt

from atif_lib.quantization import maximise_sqnr
from atif_lib.quantization.chains import chains, conditions, realise, realise_in_order, realising_orders
from atif_lib.quantization.density import GAUSSIAN
from atif_lib.quantization.lloyd_max import lloyd_max
from atif_lib.quantization.realisable import best_realisable, shares
from atif_lib.quantization.staircases import order_thresholds, pieces, safe_thresholds
from atif_lib.results import figures
from atif_lib.results.records import records_of

figures.use_style()

# %% tags=["parameters"]
profile = "smoke"

# %% [markdown]
# ## Cutting the inputs into pieces
#
# Chapter 5 looked at staircases on a grid of inputs, and a grid can miss a narrow step. We can do without a grid. Under
# a constant current $i$, a neuron that has paid $q$ for its spikes so far holds $t\,i + V(0) - q$ at timestep $t$, and
# fires if
#
# $$ i \ge \frac{q + V_{th}(t) - V(0)}{t}. $$
#
# So at each timestep one number separates the inputs that fire from those that do not. Start with the whole line of
# inputs, cut it at the number for $t = 1$, cut each half at its number for $t = 2$, and so on. In rational arithmetic
# the result is exact.

# %% tags=["hide-cell"]
figures.show_source(pieces)

# %% [markdown]
# **Predict:** thresholds 2.1, 1.9, 1.3, 2.4. There are sixteen patterns of four spikes. How many of them occur? And
# does the count ever fall as the input grows?


# %%
def show_pieces(thresholds: list[Fraction]) -> pd.DataFrame:
    """List the pieces of a neuron: from which input on, which pattern, how many spikes."""
    rows = [
        {
            "from i =": "−∞" if p.low is None else str(p.low),
            "pattern": "".join(map(str, p.spikes)),
            "count": sum(p.spikes),
        }
        for p in pieces(thresholds)
    ]
    return pd.DataFrame(rows).set_index("from i =")


# %% tags=["hide-output"]
falling = [Fraction(n, 10) for n in (21, 19, 13, 24)]
show_pieces(falling)

# %% [markdown]
# Seven patterns occur, and the count does fall. Between 19/20 and 16/15 the neuron answers `0100`, one spike, while
# inputs just below make two. The spike at $t = 2$ has paid 1.9; what is left reaches neither 1.3 at $t = 3$ nor 2.4 at
# $t = 4$. But read the
# patterns as *binary numbers*: 0, 2, 3, 4, 6, 7, 15.
#
# :::{admonition} Theorem 1: patterns are ordered
# :class: important
# For any thresholds and any $V(0)$, the spike pattern, read as a binary number with the first timestep in front, never
# decreases with a constant input. Hence each pattern occurs on one interval at most, $T$ thresholds make at most $2^T$
# pieces, and the count is monotone exactly if the number of ones never falls along this sequence.
# :::
#
# *Proof.* Take $i < i'$ and the first timestep $t$ at which their patterns differ. Before it both have paid the same,
# so the membrane of $i'$ is larger by $t\,(i' - i) > 0$. If only one of them fires at $t$, it is $i'$. $\square$
#
# The *pattern* is a monotone code of the input even where the *count* is not: a receiver that reads patterns instead of
# counts never gets a smaller answer for a larger input.
#
# ## Try it
#
# Move the thresholds. The figure runs in this page, without a server. A mark shows where the count falls.

# %% tags=["hide-input"]
WIDGET = """
<figure class="thresholds-figure" id="staircase-explorer">
<style>
#staircase-explorer svg { width: 100%; max-width: 40rem; height: auto; color: inherit; }
#staircase-explorer .stairs { stroke: #3d8fd1; stroke-width: 3; fill: none; }
#staircase-explorer .fall { fill: #e0703a; }
#staircase-explorer label { display: inline-block; margin: 0.2rem 1rem 0.2rem 0; white-space: nowrap; }
#staircase-explorer input { width: 9rem; vertical-align: middle; }
#staircase-explorer output { font-variant-numeric: tabular-nums; }
@media print { #staircase-explorer .controls { display: none; } }
</style>
<div class="controls">SLIDERS</div>
<svg viewBox="0 0 640 300" role="img" aria-label="Spikes in four timesteps against the input, for the thresholds set by
the sliders; at first 2.1, 1.9, 1.3 and 2.4, where the count falls from two to one between inputs 0.95 and 1.07.">
<g stroke="currentColor" fill="currentColor" font-size="15">AXES</g>
<path class="stairs" d="PATH"></path><g class="falls">FALLS</g></svg>
<p class="sentence" aria-live="polite">SENTENCE</p>
</figure>
<script>
(function () {
  const root = document.getElementById("staircase-explorer");
  const sliders = Array.from(root.querySelectorAll("input"));
  function cut(V) {
    let found = [{ low: -Infinity, high: Infinity, paid: 0, spikes: "" }];
    V.forEach(function (threshold, k) {
      const next = [];
      found.forEach(function (p) {
        const at = (p.paid + threshold) / (k + 1);
        if (p.low < at) next.push({ low: p.low, high: Math.min(at, p.high), paid: p.paid, spikes: p.spikes + "0" });
        if (at < p.high) next.push({ low: Math.max(at, p.low), high: p.high, paid: p.paid + threshold, spikes: p.spikes + "1" });
      });
      found = next.filter(function (p) { return p.high - p.low > 1e-9; });
    });
    return found;
  }
  const count = function (p) { return p.spikes.split("1").length - 1; };
  const px = function (i) { return 50 + 190 * Math.min(Math.max(i, 0), 3); };
  const py = function (n) { return 250 - 55 * n; };
  function draw() {
    const V = sliders.map(function (s) { s.nextElementSibling.textContent = Number(s.value).toFixed(2); return Number(s.value); });
    const found = cut(V);
    let path = "", dots = "", falls = 0;
    found.forEach(function (p, k) {
      if (p.low >= 3) return;
      const n = py(count(p));
      path += (path ? "L" : "M") + px(p.low).toFixed(1) + " " + n + "L" + px(p.high).toFixed(1) + " " + n;
      if (k && count(p) < count(found[k - 1])) { falls += 1; dots += '<circle class="fall" r="6" cx="' + px(p.low).toFixed(1) + '" cy="' + n + '"></circle>'; }
    });
    root.querySelector(".stairs").setAttribute("d", path);
    root.querySelector(".falls").innerHTML = dots;
    root.querySelector(".sentence").textContent = found.length + " patterns: " + found.map(function (p) { return p.spikes; }).join(", ") + ". The count " + (falls ? "falls " + falls + (falls > 1 ? " times." : " time.") : "never falls.");
  }
  sliders.forEach(function (s) { s.addEventListener("input", draw); });
  draw();
})();
</script>
"""


def first_drawing(thresholds: list[Fraction]) -> dict[str, str]:
    """Draw what the page shows before a slider is moved, and where no script runs."""
    found = pieces(thresholds)
    x = [50 + 190 * min(max(float(p.low or 0), 0), 3) for p in found] + [620]
    y = [250 - 55 * sum(p.spikes) for p in found]
    path = "M" + "L".join(f"{a:.1f} {n}L{b:.1f} {n}" for a, b, n in zip(x, x[1:], y, strict=False))
    falls = [k for k in range(1, len(found)) if y[k] > y[k - 1]]
    ticks = "".join(
        f'<path d="M{50 + 190 * n} 250v6"/><text x="{50 + 190 * n}" y="275" text-anchor="middle" stroke="none">{n}</text>'
        for n in range(4)
    ) + "".join(
        f'<path d="M50 {250 - 55 * n}h-6"/><text x="36" y="{255 - 55 * n}" text-anchor="end" stroke="none">{n}</text>'
        for n in range(5)
    )
    return {
        "SLIDERS": "".join(
            f'<label>V({t}) <input type="range" min="0.1" max="4" step="0.05" value="{float(v)}" aria-label="V({t}), threshold '
            f'of timestep {t}"> <output aria-hidden="true">{float(v):.2f}</output></label>'
            for t, v in enumerate(thresholds, 1)
        ),
        "AXES": f'<path d="M50 20V250H620" fill="none"/>{ticks}<text x="335" y="297" text-anchor="middle" stroke="none">'
        'input current i</text><text x="58" y="16" stroke="none">spikes</text>',
        "PATH": path,
        "FALLS": "".join(f'<circle class="fall" r="6" cx="{x[k]:.1f}" cy="{y[k]}"></circle>' for k in falls),
        "SENTENCE": f"{len(found)} patterns: {', '.join(''.join(map(str, p.spikes)) for p in found)}.",
    }


page = WIDGET
for name, text in first_drawing(falling).items():
    page = page.replace(name, text)
display(HTML(page))

# %% [markdown]
# Set all four to the same value, and the staircase is uniform, though its patterns are not the late ones of Chapter 5. Lower
# the first threshold alone: the steps become uneven, but the count never falls. Now go back to 2.1, 1.9, 1.3, 2.4. How far
# must the *last* one come down until the count no longer falls? (To 1.9, the threshold of timestep 2. From there on, what is
# left after the spike at $t = 2$ pays for one at $t = 4$.)
#
# ## How often is a request met?
#
# Draw ordered $p$ at random, as $T$ sorted numbers from $[0, 1]$, and compute the thresholds from Eqs {eq}`eq-14` to
# {eq}`eq-19`. Chapter 5 counted on a grid; here is the exact count.

# %%
draws = 1000
live = shares(4, draws)
record = records_of("limits-realisable", "laptop")[0].result
ROWS = {
    "telescoping_exact": "telescoping thresholds: exactly p",
    "telescoping_monotone": "telescoping thresholds: the count never falls",
    "printed_exact": "Eqs 14–19 as printed: exactly p",
    "printed_monotone": "Eqs 14–19 as printed: the count never falls",
    "some_order": "by some order of the timesteps",
    "some_thresholds": "by some thresholds",
}
pd.DataFrame({f"here, {draws:,} draws": live, "record, 50,000 draws": record["shares_t4"]}).round(2).rename_axis(
    "T = 4, percent of random p"
).rename(index=ROWS)

# %% [markdown]
# With each of the two formulas for the thresholds, the printed one and the telescoping one, about one $p$ in a hundred
# comes true. But the last row says that nearly **one in four** comes true with *some* thresholds. So the neuron can do
# more than these formulas. The next two sections explain the last two rows.
#
# ## Spikes in any order
#
# The derivation of Chapter 5 assumes that spikes are late: as the input grows, first timestep 4 begins to fire, then 3,
# then 2, then 1. Other orders are possible. Let timestep $o_k$ be the one that begins to fire at the $k$-th transition
# $\tau_k$, and solve for its threshold:
#
# $$ V_{th}(o_k) = o_k\,\tau_k + V(0) - \sum_{j<k,\; o_j < o_k} V_{th}(o_j). $$
#
# Each line needs only thresholds that are known from the lines before.

# %% tags=["hide-cell"]
figures.show_source(order_thresholds)

# %% [markdown]
# :::{admonition} Theorem 2: when an order works
# :class: important
# Let $P_k = \{o_1, \dots, o_k\}$ be the timesteps that fire between $\tau_k$ and $\tau_{k+1}$, and $V_{th}$ as above.
# The neuron steps up exactly at $\tau_1 < \dots < \tau_T$ with these patterns if and only if for each $k$ and $t$
#
# $$ \begin{aligned} t \in P_k:&\quad t\,\tau_k + V(0) \ge \sum_{j \in P_k,\, j \le t} V_{th}(j), \\
#    t \notin P_k:&\quad t\,\tau_{k+1} + V(0) \le V_{th}(t) + \sum_{j \in P_k,\, j < t} V_{th}(j), \end{aligned} $$
#
# the first for $k \ge 1$, the second for $k < T$.
# :::
#
# *Proof.* With the pattern $P_k$ the neuron has paid $\sum_{j \in P_k,\, j < t} V_{th}(j)$ before timestep $t$. It
# fires there if $t\,i + V(0)$ less this sum reaches $V_{th}(t)$. For $t \in P_k$ this must hold, and it holds from
# some input on. For $t \notin P_k$ it must not, and it does not up to some input. So all hold on $[\tau_k,
# \tau_{k+1})$ if and only if the first kind holds at the lower end, and the second kind, with $\le$, at the upper
# end. $\square$
#
# For the timestep that begins to fire at $\tau_{k+1}$, the second condition at $k$ and the first at $k + 1$ together
# give an equality: the formula above.
#
# For the late order $4, 3, 2, 1$ we have $\tau_k = p_{5-k}$ and no earlier spike to pay for, so $V_{p_k} = k\,p_k$: the
# *first* line of each of the systems {eq}`eq-16` and {eq}`eq-18`. (The paper solves the second line in one place, and
# probably means the last.) At $p_k$ the timesteps $k, \dots, 4$ fire, and the first condition of Theorem 2 at $t = k + 1$
# reads $(k+1)\,p_k \ge k\,p_k + (k+1)\,p_{k+1}$, that is $p_k \ge (k+1)\,p_{k+1}$ (the later ones follow from it):
# transitions that grow at least like 1, 4, 12, 24. Other orders suit other staircases.
#
# **Predict:** the steps of the Lloyd–Max staircase of Chapter 12 widen outwards, from 0.22 σ to 0.67 σ. In which orders
# can the four timesteps begin to fire there: late first, early first, mixed?

# %% tags=["hide-output"]
rows = {}
for T in range(1, 10):
    limit = lloyd_max(GAUSSIAN, T)
    found = dict(realising_orders(limit.transitions))
    early, late = tuple(range(1, T + 1)), tuple(range(T, 0, -1))
    order = early if early in found else next(iter(found), None)
    rows[T] = {
        "orders": len(found),
        "early first": "yes" if early in found else "no",
        "late first": "yes" if late in found else "no",
        "one of them": " ".join(map(str, order)) if order else "",
        "its thresholds / σ": ", ".join(f"{v:.3f}" for v in found[order]) if order else "",
        "SQNR, dB": limit.sqnr_db,
    }
pd.DataFrame(rows).T.rename_axis("T")

# %%
orders = record["lloyd_max_orders"]
with_order = [T for T, order in enumerate(orders, 1) if order]
print("T for which an order makes the Lloyd–Max staircase:", *with_order, f"of 1 to {len(orders)}")
print("the orders at T = 4:", *dict(realising_orders(lloyd_max(GAUSSIAN, 4).transitions)))

# %% [markdown]
# More than one order works. At $T = 4$ nine do: early first, and eight mixed ones, such as 4, 2, 3, 1. Late first does
# not. For $T = 1$ to 8 there is an order, and with it thresholds whose spike *count* makes the Lloyd–Max staircase **to
# the last digit**, from $V(0) = 0$. No half-step start is needed. Up to $T = 5$ the thresholds can simply rise from
# timestep to timestep. For $T = 6$ to 8 early first fails, and what is left mixes. For $T = 9$ to 13, as far as the
# search went, there is no order. That is not the end of the count, which needs no order: a search among all thresholds,
# that of [](#the-best-of-all), ends at the Lloyd–Max staircase for $T = 9$ to 11, too. (It is reached, not only
# approached. A test takes the patterns that these thresholds run through, solves for thresholds that have the same patterns
# and exactly the Lloyd–Max transitions, and finds that they meet every condition with something to spare.)

# %%
counts = records_of("limits-counts", "laptop")[0].result
for T, gap, thresholds in zip(counts["timesteps"], counts["gap_db"], counts["thresholds"], strict=True):
    print(f"T = {T}: {gap:.0e} dB below Lloyd–Max, thresholds / σ:", ", ".join(f"{v:.3f}" for v in thresholds))

# %% [markdown]
# Here are the pieces at $T = 4$, for thresholds that rise, rounded to thousandths:

# %%
thresholds = order_thresholds(lloyd_max(GAUSSIAN, 4).transitions, (1, 2, 3, 4))
show_pieces([Fraction(round(1000 * v), 1000) for v in thresholds.tolist()])

# %% [markdown]
# At each step the next timestep joins, and none leaves.
#
# ## More than orders
#
# An order demands more than we need: a timestep that has begun to fire must fire for all larger inputs. The uniform
# neuron does not do this. Here it is at $T = 6$:

# %%
show_pieces([Fraction(1)] * 6)

# %% [markdown]
# Between two steps its spikes move to earlier timesteps, and at the third step timesteps 3 and 5 stop firing while 2, 4
# and
# 6 begin. For a *count* this makes no difference. Can other thresholds make even steps in some order?

# %%
even = {T: realise_in_order(torch.arange(1, T + 1)) for T in range(1, 9)}
pd.Series(
    {T: " ".join(map(str, found[0])) if found else "none" for T, found in even.items()}, name="order for even steps"
).to_frame().rename_axis("T").T

# %% [markdown]
# Up to $T = 5$ they can, for 6 to 8 they cannot. So there are two questions:
#
# * by an **order**: do thresholds exist with which the timesteps begin to fire one after another, as in Theorem 2?
# * by the **count**: do thresholds exist whose count steps up at $\tau_1 < \dots < \tau_T$, whatever the patterns?
#
# A receiver that counts spikes needs only the second. By Theorem 1 the patterns of a neuron, from left to right, are
# increasing binary numbers; we call such a list a *chain*. If the count may neither fall nor jump, there are few
# chains: 33 for three timesteps, 2,079 for four. Theorem 2 holds for each of them: take the $n$-th pattern of the
# chain for $P_k$, and the two ends of its interval for $\tau_k$ and $\tau_{k+1}$. Where the count steps up, the end
# is the wanted $\tau$. Where only the pattern changes, it is a cut, at which the first timestep that differs can just
# pay; that is linear in the thresholds, too. So all conditions are linear inequalities, and for each chain a linear
# programme decides whether thresholds exist. For $T \le 4$ we can ask them all.

# %% tags=["hide-cell"]
figures.show_source(conditions)

# %%
print("chains for T = 1 ... 4:", *(len(chains(T)) for T in range(1, 5)))

# %% [markdown]
# Are there staircases for which the answer is no to the first question and yes to the second? The thresholds
# $\frac94, \frac92, 5$ step up at $\frac53, \frac{29}{12}, \frac{47}{12}$. On the way one spike moves from the last
# timestep to the first, and one of two from the last to the second:

# %%
show_pieces([Fraction(9, 4), Fraction(9, 2), Fraction(5)])

# %%
wanted = torch.tensor([5 / 3, 29 / 12, 47 / 12], dtype=torch.float64)
print("by an order: ", realise_in_order(wanted))
chain, thresholds = realise(wanted)
print("by the count:", *("".join(map(str, z)) for z in chain), [round(v, 4) for v in thresholds.tolist()])

# %% [markdown]
# No order makes these transitions; by the count they can be made, also by other thresholds with another chain. And this
# is the share of random $p$ that can be made:

# %%
pd.DataFrame(
    {f"T = {t}": {k: v for k, v in record[f"shares_t{t}"].items() if k.startswith("some")} for t in (2, 3, 4, 5)}
).round(1).rename_axis("percent of random p").rename(index=ROWS).astype(object).fillna("–")

# %% [markdown]
# ## Not every staircase
#
# With two timesteps everything can be worked out.
#
# :::{admonition} Theorem 3: two timesteps
# :class: important
# From $V(0) = 0$ and for positive thresholds, $T = 2$ realises the transitions $0 < \tau_1 < \tau_2$ if and only if
# $\tau_2 \ge \frac32 \tau_1$.
# :::
#
# *Proof.* The count reaches 1 at $\tau_1 = \min(V_1, \frac12 V_2)$ and 2 at $\tau_2 = \max(V_1, \frac12(V_1 + V_2))$.
# Both $V_1 \ge \tau_1$ and $\frac12 V_2 \ge \tau_1$, so $\tau_2 \ge \frac12(\tau_1 + 2\tau_1)$. For the converse take
# $V_1 = \tau_1$, $V_2 = 2\tau_2 - \tau_1$, the order $1, 2$. $\square$
#
# So a second step cannot follow too soon. Two thirds of the random $p$ can be made, since $\tau_1 \le \frac23 \tau_2$
# has the probability $\frac23$. For any $T$ it must hold that $V_{th}(t) \ge t\,\tau_1$, since no timestep may fire
# below $\tau_1$.
#
# ## Staying inside
#
# For training we want parameters whose staircase is always the intended one. For the telescoping form, $T = 4$ and
# thresholds that never rise, the region of such parameters is known exactly. ([](09_ablation.py) trains a small network
# in it.)
#
# :::{admonition} Theorem 4: the region of the telescoping form
# :class: important
# Let $T = 4$, $V(0) = 0$ and $V_1 \ge V_2 \ge V_3 \ge V_4 > 0$. The count steps up exactly at $p_4 = \frac14 V_4$, $p_3
# = \frac14(V_3 + V_4)$, $p_2 = \frac14(V_2 + V_3 + V_4)$ and $p_1 = V_1$ **if and only if** $V_2 + V_3 \le 3 V_4$,
# which is $p_2 \le 4 p_4$.
# :::
#
# *Proof, only if.* At $i = p_2 \le \frac34 V_1$ three spikes are due, and none of them comes at $t = 1$, as $i < V_1$.
# So timesteps 2, 3 and 4 all fire; at $t = 3$ this needs $3 p_2 \ge V_2 + V_3$, that is $\frac34 V_4 \ge \frac14 (V_2 +
# V_3)$.
#
# *Proof, if.* Let $V_2 + V_3 \le 3V_4$ and $i \ge 0$.
#
# *Not too many spikes.* The membrane never falls below 0, so the thresholds of all spikes add up to at most the charge $4i$.
# For $n \le 3$ spikes they add up to at least the $n$ smallest thresholds, which are the last $n$: $4i \ge 4p_{5-n}$. Four
# spikes need one at $t = 1$: $i \ge V_1 = p_1$.
#
# *Not too few.*
#
# * $i \ge p_1$: each timestep brings in enough for its own spike. Below, $i < V_1$, and nothing fires at $t = 1$.
# * $p_2 \le i < p_1$: from $V_2 \le 3V_4 - V_3 \le 2V_4 \le V_3 + V_4$ follows $2i \ge \frac12(V_2 + V_3 + V_4) \ge
#   V_2$. The condition gives $3i \ge \frac34(V_2 + V_3 + V_4) \ge V_2 + V_3$. And $4i \ge V_2 + V_3 + V_4$. Three
#   spikes.
# * $p_3 \le i < p_2$, and $t = 2$ fires: then $2i \ge V_2$. If $t = 3$ is silent, $4i - V_2 \ge V_2 \ge V_4$, and $t = 4$
#   fires. Two spikes.
# * $p_3 \le i < p_2$, and $t = 2$ is silent: $3i \ge \frac34(V_3 + V_4) \ge V_3$, as $V_3 \le \frac32 V_4$, and $4i
#   \ge V_3 + V_4$. Two spikes.
# * $p_4 \le i < p_3$: $4i \ge V_4$, so $t = 4$ fires if no other did. One spike. $\square$
#
# In proportions $(V_2, V_3, V_4)$ this is a triangle with the corners $(2,1,1)$, $(\frac32,\frac32,1)$ and $(1,1,1)$.
# Three positive weights that sum to one, a softmax, pick a point in it; a scale and a surplus $V_1 - V_2 > 0$ complete
# a parametrisation that no update can leave. (For $T = 5$ the like conditions do not suffice, see the exercises.)

# %% tags=["hide-cell"]
figures.show_source(safe_thresholds)

# %% [markdown]
# The exercise of Chapter 5, $p = (1, \frac12, \frac14, \frac18)$, is the first corner.
#
# **Predict:** the region is small: of the steps below $p_2$, none is more than twice as wide as another. How many of the
# 3 dB of Figure 5 are left in it?

# %% tags=["hide-output"]
k = torch.arange(1, 5, dtype=torch.float64)


def telescoped(w: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Transitions and thresholds of a neuron of the region."""
    v = safe_thresholds(w)
    return torch.cat([v[1:].flip(0).cumsum(0) / 4, v[:1]]), v


def decoded(w: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Transitions, and the levels of Chapter 5: rate times p_1."""
    transitions, v = telescoped(w)
    return transitions, k / 4 * v[0]


def at_corner(n: int) -> float:
    """Best SQNR at a corner of the triangle: only the scale and p_1 are free."""
    corner = 50 * torch.eye(3, dtype=torch.float64)[n]
    return maximise_sqnr(lambda w: decoded(torch.cat([corner, w])), [0.0, 0.0]).sqnr_db


rows = {"all thresholds": record["rate_p1_db"][3], "the safe region": maximise_sqnr(decoded, [0.0] * 5).sqnr_db}
rows |= {f"its corner ({c})": at_corner(n) for n, c in enumerate(("2, 1, 1", "3/2, 3/2, 1", "1, 1, 1"))}
pd.Series(rows, name="best, dB").round(2).to_frame()

# %% [markdown]
# Nearly all of them: 14.43 dB of 14.63 if the count is decoded as in Chapter 5, rate times $p_1$. That is 3.3 dB above
# the uniform neuron. The shape of the staircase matters, as the three corners show; in the best one the first step is
# narrower than the next two. And $p_1$ is free: it sets the levels, $k p_1 / 4$, apart from the steps, and a $p_1$ of
# about 1.6 times $p_2$ puts each level near the middle of its step. This is the half step of Chapter 12 again. So there is
# a non-uniform neuron whose $p$ *are* its transitions, and its best is 0.2 dB lower.
#
# ## The best of all
#
# A threshold, and a weight, for each timestep: {cite:t}`stoeckl2021optimized` gave both to a neuron, with a reset of
# its own for each timestep too, fitted them to an activation function, and came near it with few spikes.
# {cite:t}`jiang2025dsatgo` set the threshold of each timestep by the membranes that they find there. Others have
# several thresholds at *one* timestep {cite:p}`wang2023mtsnn`. If these are equidistant, such a neuron does under a
# constant current what a neuron with one threshold does in as many timesteps {cite:p}`hao2024lmht`. How near can ours
# come?
#
# Let the thresholds themselves be free, compute staircase and noise exactly, and search: differential evolution from
# random populations, then the exact gradient. At $T = 4$ that takes seconds:

# %%
found = best_realisable(4, "levels", restarts=1)
print(f"{found.sqnr_db:.2f} dB at thresholds {[round(v, 3) for v in found.thresholds.tolist()]}")

# %% tags=["hide-input"]
names = {
    "rate_p1_db": "count · p1 / T",
    "gain_db": "count · free gain",
    "levels_db": "a level for each count",
    "weights_db": "a weight for each timestep",
    "weights_free_start_db": "a weight for each timestep, V(0) free",
    "patterns_db": "a level for each pattern",
    "patterns_free_start_db": "a level for each pattern, V(0) free",
}
best = pd.DataFrame({name: record[key] for key, name in names.items()}, index=pd.Index(range(1, 9), name="T"))
best.insert(3, "Lloyd–Max, T + 1 levels", record["lloyd_max_db"])
best.T.round(2)

# %% [markdown]
# The error has many local minima, at least one for each set of patterns, and a search may end in any of them. So we do
# two things. Each family is also searched from the best neurons of the families that it contains, and of one timestep
# less. And the record counts how many of 36 searches from random numbers ended at the best neuron:

# %%
searched = ["weights", "weights_free_start", "patterns", "patterns_free_start"]
hits = {names[f"{key}_db"]: record[f"{key}_hits"] for key in searched}
pd.DataFrame(hits, index=best.index).T.rename_axis("searches of 36 that ended at the best")

# %% [markdown]
# Where only a few of them did, a better neuron may exist. All numbers of this section except those of counts are **lower
# bounds**.

# %% tags=["hide-input"]
fig, ax = plt.subplots(figsize=(6.4, 4.8))
drawn = [names[f"{key}_db"] for key in ("rate_p1", "levels", "weights", "weights_free_start", "patterns_free_start")]
styles = [figures.neuron_style("ATIF-nu"), figures.neuron_style("Lloyd–Max")]
styles += [
    {"color": c, "linestyle": s} for c, s in ((figures.SKY, "-"), (figures.ORANGE, "--"), (figures.VERMILION, "-."))
]
for name, style in zip(drawn, styles, strict=True):
    ax.plot(best.index, best[name], marker="o", markersize=4, label=name, **style)
ax.set(xlabel="timesteps $T$", ylabel="best SQNR found, dB", ylim=(0, 31))
ax.legend(loc="lower right", fontsize=11)
figures.show(
    fig,
    "best-realisable",
    alt="Best SQNR found against timesteps for five ways to read the spikes. The two that count lie close together and reach "
    "about 20 decibels at eight timesteps; the three that read patterns lie six to nine decibels higher there.",
    caption="The best spiking quantizers found for a Gaussian, the thresholds free at each timestep. Counting reaches the "
    "limit of Lloyd and Max for $T + 1$ levels; decoding *when* the spikes came goes beyond it, from $T = 3$ on, with a free start from $T = 2$ on. The upper three are "
    "lower bounds of what is possible.",
    data=best[drawn].reset_index(),
)

# %%
print(f"largest distance of the best count to Lloyd–Max, T = 1 ... 8: {abs(record['largest_gap_db']):.4f} dB")

# %% [markdown]
# Three readings:
#
# * **The count leaves no gap.** With a free level for each count the search finds the Lloyd–Max quantizer for $T = 1$
#   to 8, from $V(0) = 0$. With the levels of Chapter 5, rate times $p_1$, it finds the unconstrained optimum of Chapter 12
#   (14.63 dB at $T = 4$), and with a free gain that of the half-step start.
# * **The pattern holds more.** A free weight for each timestep, $\hat x = \sum_t w_t z(t)$, reaches 18.0 dB at $T = 4$,
#   and 20.6 dB with a free start, 5 dB more than any counting with a level at zero can reach. In a network this has a
#   price: $w_t$ multiplies the next layer's weights, so there are $T$ sets of them to store, or a product for each
#   spike. (Section 5 of the paper says that the inefficiency of rate coding lies in the quantization scheme, not in the
#   rate. Here the scheme is worth 4.5 dB; but the pattern holds at least 2.4 dB that no count has.)
# * **Not all patterns.** $2^T$ levels would be worth even more. Theorem 1 does not exclude them, but from $T = 4$ on
#   no neuron makes them all. If all 16 patterns of $T = 4$ occurred, the 15 inputs at which the pattern changes (the
#   *cuts*) would lie in a known order. The cell takes five gaps between neighbouring cuts, multiplies them by 4, 4,
#   5, 9 and 12, and adds them up:

# %%


def cut(prefix: str) -> list[Fraction]:
    """The input at which neurons with these spikes so far are cut next, as coefficients of V(1), ..., V(4), V(0)."""
    t = len(prefix) + 1
    fired = [int(prefix[n - 1 : n] == "1" or n == t) for n in range(1, 5)]
    return [Fraction(c, t) for c in (*fired, -1)]


neighbours = [("001", "0"), ("011", ""), ("", "100"), ("100", "10"), ("11", "111")]
multiples = [4, 4, 5, 9, 12]
total = [
    sum(m * (cut(right)[n] - cut(left)[n]) for m, (left, right) in zip(multiples, neighbours, strict=True))
    for n in range(5)
]
print("sum of the gaps, coefficients of V(1) ... V(4), V(0):", *total)

# %% [markdown]
# :::{admonition} Theorem 5: never all patterns
# :class: important
# For $T \ge 4$ no thresholds and no $V(0)$ make all $2^T$ patterns.
# :::
#
# *Proof.* With all $2^T$ patterns the first four timesteps make all 16, so let $T = 4$. By Theorem 1 the 15 cuts, one
# for each word of spikes so far, then lie in a fixed order with positive gaps. The cell above takes five of these gaps
# between neighbours, times 4, 4, 5, 9 and 12, and adds them: every coefficient is 0. Positive numbers cannot add up to
# 0. $\square$
#
# Three timesteps can: thresholds $1, \frac34, \frac58$ and $V(0) = \frac34$ make all eight.

# %%
print(len(pieces([Fraction(1), Fraction(3, 4), Fraction(5, 8)], Fraction(3, 4))), "patterns of 8")

# %% [markdown]
# :::{admonition} Conjectures
# :class: note
# 1. *There is a largest $T$ for which an order realises the Lloyd–Max staircase of a Gaussian.* Evidence: for $T = 1$
#    to 8 there is an order, for $T = 9$ to 13 none. By the count it goes on further, at least to $T = 11$.
# 2. *The share of random ordered staircases that some order realises tends to 0, and so does the share that some
#    thresholds realise.* Evidence: the table above, from two thirds at $T = 2$ on, to $T = 5$ for orders and to $T = 4$ for
#    any thresholds.
# :::
#
# ## What can go wrong
#
# **Rounding.** In floating point the ends of two pieces that should meet can differ in the last digit. Then a piece of
# almost no width appears, with a pattern that seems to break a theorem. `count_staircase` leaves out pieces narrower
# than $10^{-9}$ of the largest threshold; `pieces` is exact if it is given rational numbers. Note that 1.9 as a float
# is not 19/10:

# %%
print(pieces([1.9])[1].low, "and", pieces([Fraction("1.9")])[1].low)

# %% [markdown]
# **Applying it to deep layers.** All this holds for a *constant* current. In deeper layers spikes come unevenly, and a
# neuron's threshold at $t$ meets a current that depends on $t$.
#
# ## Exercises
#
# ```{exercise} The cuts in order
# :label: ex-cuts
# For $T = 2$ and $V(0) = 0$, for which thresholds do all four patterns occur?
# ```
#
# ```{solution} ex-cuts
# :class: dropdown
# The cuts are $\frac12 V_2$ (for those that did not fire), $V_1$, and $\frac12(V_1 + V_2)$ (for those that did). By
# Theorem 1 they must come in this order: $\frac12 V_2 < V_1 < \frac12 (V_1 + V_2)$, that is $V_1 < V_2 < 2V_1$.
# ```
#
# ```{exercise} Five timesteps
# :label: ex-five
# Let $T = 5$ and the thresholds be 47, 37, 33, 29, 26. In the telescoping form they belong to $p_1 = V_1 = 47$ and $p_k =
# \frac15 (V_k + \dots + V_5)$: 25, 17.6, 11 and 5.2. The $p$ decrease, and every line of the systems holds: at each timestep
# $m \ge k$, $m\,p_k \ge V_k + \dots + V_m$. Use `pieces` to show that the staircase is yet not the intended one.
# ```
#
# ````{solution} ex-five
# :class: dropdown
# ```python
# show_pieces([47, 37, 33, 29, 26])
# ```
# The second step is meant at $p_4 = (29 + 26)/5 = 11$. There the pattern changes from `00010` to `00100`, still one
# spike; the second comes at $59/5$. A spike at $t = 3$ has paid 33, and the two timesteps that are left bring too
# little.
# ````
#
# ```{exercise} Early spikes
# :label: ex-early
# Solve for the thresholds of the order $1, 2, \dots, T$. Which staircases does it suit?
# ```
#
# ```{solution} ex-early
# :class: dropdown
# $\sum_{j \le k} V_{th}(j) = k\,\tau_k$, so $V_{th}(k) = k\tau_k - (k-1)\tau_{k-1}$. After its early spikes the neuron
# must stay silent although charge still comes in, so later thresholds have to be higher. Even steps are possible up to
# $T = 3$ (for $\tau_k = k$ the thresholds are 1, 3, 5), the Lloyd–Max staircase of a Gaussian up to $T = 5$. With more
# timesteps the steps have to widen.
# ```
#
# ## Recap
#
# * For a constant input and $T$ thresholds the pieces can be found exactly, and patterns never decrease as binary
#   numbers.
# * Each order of the timesteps has its own closed form for the thresholds; the paper assumes the late order.
# * Fewer staircases can be made by an order than by the count; for $T \le 4$ a linear programme for each chain decides
#   what the count can make.
# * For $T = 4$, among thresholds that never rise, the telescoping form realises its $p$ exactly if and only if $p_2 \le
#   4 p_4$; that costs 0.2 dB against the best of all thresholds with the same decode.
# * Counting realises the Lloyd–Max staircase for $T = 1$ to 11: up to 5 with thresholds that only rise, up to 8 in
#   some order of the timesteps, from 9 on in none.
# * To read *when* spikes come is worth at least 2.4 to 5 dB more at $T = 4$ than any counting, at the price of $T$ sets
#   of weights.
