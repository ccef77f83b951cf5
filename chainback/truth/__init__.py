"""The float64 reference of a problem, and the bound within which a right result lies. No JAX, and nothing of the engines.

Differentiating every layer x_i = h_i(W_i x_{i−1} + b_i) of a chain at once gives (I − L) dx = D dp, where L holds the
couplings C_i = diag(δ_i) W_i, δ_i = h_i'(z_i), below its diagonal. Forward substitution on it is forward-mode AD; back
substitution, (I − L)ᵀ λ = e_N ⊗ (x_N − y), is reverse-mode AD, and the gradient is Dᵀ λ: db_i = δ_i λ_i and
dW_i = db_i x_{i−1}ᵀ.

The bound is the same two solves with magnitudes. Rounding moves each layer's argument, slope and state by

    E_z = |W| E_x + (γ_{n+1} + q)(|W| (|x| + E_x) + |b|)        E_δ = |h''| E_z + rounding        E_x = |h'| E_z + rounding

and these move the adjoint, with Λ ← |W|ᵀ G, G = |δ| Λ, its magnitude without cancellation, and the gradient by

    E_g = |δ| E_Λ + E_δ (Λ + E_Λ) + rounding    E_Λ ← |W|ᵀ E_g + rounding    E_W = E_g |x|ᵀ + (G + E_g) E_xᵀ + rounding

No sign cancels in either solve, so that the bound holds for every order of evaluation. The docstring of `chain_bound` has
every term, and why a case may be undecided.

In reading order:

* `envelope`: truth and bound of any problem, in rows of components that blocks name.
* `recurrences`: what solves (I − L) on batches: substitutions, and Newton's method for chains that are deep.
* `chain_gradient`: states, slopes, adjoints and gradients of a chain, by explicit loops and closed forms.
* `chain_forward_error`: error bounds of each argument, state and slope of a chain.
* `chain_bound`: the bound of each gradient component, of a linearisation, and of a substitution.

A program, any traced function, is the same system with a block row for each equation:

* `tape`: its equations, evaluated; both substitutions. `interpreter`: a jaxpr read in float64 onto a tape.
* `tape_bound`: the derived bound, equation by equation. `sampled_bound`: random rounding errors, where that is vacuous.
* `differences`: one-sided differences of the values. `solved_program`: all that a judge needs of a program.
* `program_system`: I − L as a sparse matrix, for whoever wants to see it.
"""
