/* Updates of soft actor-critic on one core, from the batch to the stepped weights.

The mathematics is that of pbrl/agents/fast_sac.py, in its order. For a batch (s, a, r, s', d) and noise e, e':

    u = mean(s) + std(s) e,   a_pi = tanh(u),   log pi = sum log N(u; mean, std) - log(1 - a_pi^2 + 1e-6)
    alpha = exp(log_alpha);   step log_alpha on   -log_alpha * mean(log pi + target_entropy)
    y = r + gamma (1 - d) (min_k Q'_k(s', a') - alpha log pi(a'|s'))
    step Q on      1/2 sum_k mean (Q_k(s, a) - y)^2
    step pi on     mean(alpha log pi - min_k Q_k(s, a_pi))          with the new Q
    Q' <- (1 - tau) Q' + tau Q

A network of L layers reads h_0, computes z_l = h_l W_l + b_l and h_{l+1} = max(z_l, 0), and ends with z_{L-1}. For a
loss with g_l = dL/dz_l, a row per sample,

    dL/dW_l = h_l^T g_l,   dL/db_l = sum of the rows of g_l,   g_{l-1} = (g_l W_l^T) * [h_l > 0].

So there are three kinds of product, X W, G W^T and H^T G, and one loop computes them all: `tile` forms ROWS rows and
up to COLUMNS vectors of columns of C = A B in registers, from a strided A and a B that was packed so that it is read
in order. What it multiplies are 32-bit cells: a float, or a pair of bfloat16 that follow each other along the summed
dimension, whose two products one instruction adds to a float. Between hidden layers the products may be in bfloat16;
the first and the last layer, all sums, weights and moments are float32.

The vectors are as wide as those of the processor that this file is compiled for; pbrl/native/build.py compiles it once
for each kind. Nothing here knows Python: all memory is the caller's, and `sac_update` keeps nothing between calls.
NaN in the data stays NaN: every comparison below is written so that it passes it on. */

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
enum { LANES = 16, ROWS = 8 };
#elif defined(__AVX__)
enum { LANES = 8, ROWS = 4 };
#else
enum { LANES = 4, ROWS = 8 };
#endif
enum { COLUMNS = 3, WIDTH = COLUMNS * LANES, ALIGN = 16, MAX_LAYERS = 8, NOISE_LANES = 16 };
#ifndef GROUP
enum { FIRST_CACHE = 49152, GROUP = 4 };
#endif

#if defined(__AVX512BF16__)
#include <immintrin.h>
#define HAS_HALF 1
#elif defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
#include <arm_neon.h>
#define HAS_HALF 1
#else
#define HAS_HALF 0
#endif

typedef uint32_t cell;
typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));
typedef uint32_t uvec __attribute__((vector_size(4 * LANES)));
typedef uint16_t hvec __attribute__((vector_size(2 * LANES)));

#define INLINE static inline __attribute__((always_inline))

struct adam { double steps, lr, beta1, beta2, eps, weight_decay; }; /* steps: how many it has made */

/* K equal networks in flat vectors laid out as `StackedMLP`: per layer all weights (K, in, out), then all biases
   (K, out); the weights of the last layer are (K, out, in). */
struct net {
    int64_t copies, layers, sizes[MAX_LAYERS + 1];
    float *values, *grads, *exp_avg, *exp_avg_sq;
    struct adam adam;
};

/* Where batches come from: rows of a replay buffer as `LearnedRewardBuffer` keeps it, or arrays given for each row. */
struct source {
    const float *obs, *actions, *rewards; /* (size, E, O), (size, E, A), (size, E) */
    const uint8_t *terminated;            /* (size, E) */
    const int32_t *last_index;            /* (size, E) row of last_obs that follows, or -1 */
    const float *last_obs, *newest;       /* (N, O), (E, O) */
    const int64_t *rows, *envs;           /* (updates * batch,) each */
    int64_t size, n_envs, pos;
    const float *next_obs, *dones; /* where next_obs is given: obs, ..., dones are (updates, batch, ...) in order */
};

struct problem {
    struct net actor, critic, target; /* target: its values alone */
    struct source source;
    int64_t obs, actions, batch, updates, half; /* half: bfloat16 between hidden layers */
    int64_t done_updates, target_interval;
    double gamma, tau, target_entropy, fixed_alpha;
    float *log_alpha, *alpha_exp_avg, *alpha_exp_avg_sq; /* (1,) each; log_alpha is NULL where alpha is fixed */
    struct adam alpha_adam;
    const float *noise; /* (updates, 2, batch, A) or NULL: drawn from `seed` */
    uint64_t seed;
    double sums[4]; /* out: alpha and the losses of alpha, critics and actor, summed over the updates */
};

/* A row-major matrix of floats, or of bfloat16 where `half`. */
struct matrix {
    void *data;
    int64_t ld; /* elements from one row to the next */
    int half;
};

/* ---- vectors ---- */

INLINE vec load(const void *p) { vec v; memcpy(&v, p, sizeof v); return v; }
INLINE void store(void *p, vec v) { memcpy(p, &v, sizeof v); }
INLINE vec splat(float x) { return x - (vec){0}; } /* minus, since -0 + 0 would be +0 */
INLINE vec pick(ivec mask, vec yes, vec no) { return (vec)((mask & (ivec)yes) | (~mask & (ivec)no)); }

/* The lanes of a and, from LANES on, of b that `which` names. */
#if defined(__clang__)
INLINE uvec SHUFFLE(uvec a, uvec b, uvec which) {
    uvec out;
    for (int i = 0; i < LANES; i++) out[i] = which[i] < LANES ? a[which[i]] : b[which[i] - LANES];
    return out;
}
#else
#define SHUFFLE(a, b, which) __builtin_shuffle(a, b, which)
#endif

/* bfloat16 in the upper half of each lane, rounded to the nearest, ties to even; NaN stays NaN. */
INLINE uvec rounded(vec v) {
    uvec x = (uvec)v, r = x + 0x7fff + ((x >> 16) & 1), bad = (uvec)(v != v);
    return (bad & (x | 0x400000)) | (~bad & r);
}
INLINE void store_half(uint16_t *p, vec v) {
    hvec h = __builtin_convertvector(rounded(v) >> 16, hvec);
    memcpy(p, &h, sizeof h);
}
INLINE uvec load_cells_of_half(const uint16_t *p) { hvec h; memcpy(&h, p, sizeof h); return __builtin_convertvector(h, uvec); }
INLINE vec load_half(const uint16_t *p) { return (vec)(load_cells_of_half(p) << 16); }

INLINE vec load_at(struct matrix m, int64_t row, int64_t column) {
    return m.half ? load_half((uint16_t *)m.data + row * m.ld + column) : load((float *)m.data + row * m.ld + column);
}
INLINE void store_at(struct matrix m, int64_t row, int64_t column, vec v) {
    if (m.half) store_half((uint16_t *)m.data + row * m.ld + column, v);
    else store((float *)m.data + row * m.ld + column, v);
}
INLINE float sum_lanes(vec v) { float s = 0; for (int i = 0; i < LANES; i++) s += v[i]; return s; }

/* exp and log to about one unit in the last place (the polynomials of Cephes), tanh to two. */
INLINE vec vexp(vec x) {
    vec c = pick(x > 88.0f, splat(88.0f), pick(x < -87.0f, splat(-87.0f), x));
    vec shifter = splat(12582912.0f), n = c * 1.44269504088896341f + shifter; /* rounds to an integer in the low bits */
    ivec bits = (ivec)n;
    n -= shifter;
    vec r = c - n * 0.693359375f + n * 2.12194440e-4f;
    vec p = splat(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f; p = p * r + 8.3334519073e-3f; p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f; p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    return (vec)((ivec)p + (bits << 23)); /* the shifter's own bits leave at the top; NaN stays NaN */
}
INLINE vec vlog(vec x) { /* x > 0 and not denormal, or NaN */
    ivec bits = (ivec)x, e = ((bits >> 23) & 0xff) - 126;
    vec m = (vec)((bits & 0x7fffff) | 0x3f000000); /* in [1/2, 1) */
    ivec small = m < 0.707106781186547524f;
    e += small;
    m = m - 1.0f + pick(small, m, splat(0.0f));
    vec n = __builtin_convertvector(e, vec), z = m * m, p = splat(7.0376836292e-2f);
    p = p * m - 1.1514610310e-1f; p = p * m + 1.1676998740e-1f; p = p * m - 1.2420140846e-1f;
    p = p * m + 1.4249322787e-1f; p = p * m - 1.6668057665e-1f; p = p * m + 2.0000714765e-1f;
    p = p * m - 2.4999993993e-1f; p = p * m + 3.3333331174e-1f;
    vec y = p * m * z + n * -2.12194440e-4f - z * 0.5f + m + n * 0.693359375f;
    return pick(x != x, x, y);
}
INLINE vec vtanh(vec x) {
    vec a = pick(x < 0.0f, -x, x), z = x * x, p = splat(-5.70498872745e-3f);
    p = p * z + 2.06390887954e-2f; p = p * z - 5.37397155531e-2f; p = p * z + 1.33314422036e-1f;
    p = p * z - 3.33332819422e-1f;
    vec near = p * z * x + x, far = 1.0f - 2.0f / (vexp(2.0f * pick(a > 10.0f, splat(10.0f), a)) + 1.0f);
    return pick(a < 0.625f, near, pick(x < 0.0f, -far, far));
}
INLINE vec vsqrt(vec x) { for (int i = 0; i < LANES; i++) x[i] = sqrtf(x[i]); return x; }

/* The standard normal at which its distribution function is (u + 1) / 2 (Giles 2010, single precision); |u| < 1. */
INLINE vec normal_quantile(vec u) {
    vec w = -vlog((1.0f - u) * (1.0f + u)), a = w - 2.5f, b = vsqrt(w) - 3.0f;
    vec p = splat(2.81022636e-08f), q = splat(-0.000200214257f);
    p = p * a + 3.43273939e-07f; p = p * a - 3.5233877e-06f; p = p * a - 4.39150654e-06f; p = p * a + 0.00021858087f;
    p = p * a - 0.00125372503f; p = p * a - 0.00417768164f; p = p * a + 0.246640727f; p = p * a + 1.50140941f;
    q = q * b + 0.000100950558f; q = q * b + 0.00134934322f; q = q * b - 0.00367342844f; q = q * b + 0.00573950773f;
    q = q * b - 0.0076224613f; q = q * b + 0.00943887047f; q = q * b + 1.00167406f; q = q * b + 2.83297682f;
    return u * pick(w < 5.0f, p, q) * 1.41421356237309505f;
}

/* ---- random numbers: xoshiro128++ in NOISE_LANES lanes, the same numbers whatever LANES is ---- */

struct generator { uint32_t s[4][NOISE_LANES]; };

static void seed_generator(struct generator *g, uint64_t seed) {
    for (int i = 0; i < 4 * NOISE_LANES; i++) { /* splitmix64 */
        uint64_t z = (seed += 0x9e3779b97f4a7c15u);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        g->s[i / NOISE_LANES][i % NOISE_LANES] = (uint32_t)((z ^ (z >> 31)) >> 32);
    }
}

#define ROTATED(x, k) ((x) << (k) | (x) >> (32 - (k)))

/* Fills n floats, n a multiple of NOISE_LANES, with standard normals. */
static void draw_normals(struct generator *g, float *out, int64_t n) {
    for (int64_t start = 0; start < n; start += NOISE_LANES) {
        float u[NOISE_LANES];
        for (int i = 0; i < NOISE_LANES; i++) {
            uint32_t a = g->s[0][i], b = g->s[1][i], c = g->s[2][i], d = g->s[3][i], sum = a + d;
            uint32_t drawn = ROTATED(sum, 7) + a, t = b << 9;
            c ^= a; d ^= b; b ^= c; a ^= d; c ^= t; d = ROTATED(d, 11);
            g->s[0][i] = a; g->s[1][i] = b; g->s[2][i] = c; g->s[3][i] = d;
            u[i] = ((int32_t)(drawn >> 9) - 4194304 + 0.5f) * (1.0f / 4194304.0f); /* the middles of 2^23 parts of (-1, 1) */
        }
        for (int i = 0; i < NOISE_LANES; i += LANES) store(out + start + i, normal_quantile(load(u + i)));
    }
}

/* ---- memory ---- */

static int64_t up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

/* Hands out pieces of the workspace, which begins at an address, or at 0 where it is only counted. */
static void *piece(uintptr_t *at, int64_t bytes) {
    uintptr_t p = *at;
    *at += (uintptr_t)up(bytes, 64);
    return (void *)p;
}
#define FLOATS(at, n) ((float *)piece(at, 4 * (n)))

static struct matrix new_matrix(uintptr_t *at, int64_t rows, int64_t columns, int half) {
    int64_t ld = up(columns, ALIGN);
    return (struct matrix){piece(at, (half ? 2 : 4) * (up(rows, ROWS) * ld + WIDTH)), ld, half};
}

/* ---- products ---- */

enum finish { PLAIN, BIASED, RELU, MASKED, PACKED /* a PLAIN one of a packed A */ };

/* What becomes of C: stored as it is; with a bias; with that and max(., 0); or where the mask is positive. */
struct result {
    struct matrix out;
    enum finish finish;
    const float *bias;
    struct matrix mask;
    const int32_t *mask_rows; /* NULL: row i of the mask for row i */
};

INLINE vec dot(vec sum, cell a, vec b, const int half) {
    (void)half;
#if defined(__AVX512BF16__)
    if (half) return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_set1_epi32((int)a), (__m512bh)b);
#elif defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
    if (half) return vbfdotq_f32(sum, (bfloat16x8_t)vdupq_n_u32(a), (bfloat16x8_t)b);
#endif
    float x;
    memcpy(&x, &a, 4);
    return sum + x * b;
}

/* Where a tile lies in C, and how many of its ROWS rows there are. */
struct place { int64_t row, column; int rows; const struct result *result; };

INLINE void finish_row(const vec *sum, int i, const int columns, const enum finish finish, const struct place *at) {
    const struct result *r = at->result;
    int64_t row = at->row + i, mask_row = finish == MASKED && r->mask_rows ? r->mask_rows[row] : row;
    for (int j = 0; j < columns; j++) {
        int64_t column = at->column + j * LANES;
        vec z = sum[j];
        if (finish == BIASED || finish == RELU) z += load(r->bias + column);
        if (finish == RELU) z = pick(z < 0.0f, splat(0.0f), z);
        if (finish == MASKED) z = pick(load_at(r->mask, mask_row, column) <= 0.0f, splat(0.0f), z);
        store_at(r->out, row, column, z);
    }
}

/* ROWS rows and `columns` vectors of C: the sum over p < k of a[i * a_row + p * a_step] times the p-th row of packed b. */
INLINE void tile(int64_t k, const cell *a, int64_t a_row, int64_t a_step, const cell *b, const int columns,
                 const int half, const enum finish finish, const struct place *at) {
    vec sum[ROWS][COLUMNS];
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < columns; j++) sum[i][j] = (vec){0};
    for (int64_t p = 0; p < k; p++, a += a_step, b += columns * LANES) {
        vec row[COLUMNS];
        for (int j = 0; j < columns; j++) row[j] = load(b + j * LANES);
        for (int i = 0; i < ROWS; i++)
            for (int j = 0; j < columns; j++) sum[i][j] = dot(sum[i][j], a[i * a_row], row[j], half);
    }
    for (int i = 0; i < ROWS; i++)
        if (i < at->rows) finish_row(sum[i], i, columns, finish, at);
}

typedef void tile_function(int64_t k, const cell *a, int64_t a_row, const cell *b, int columns, const struct place *at);

#define TILE(NAME, HALF, A_ROW, A_STEP, FINISH)                                                                       \
    static void NAME(int64_t k, const cell *a, int64_t a_row, const cell *b, int columns, const struct place *at) {   \
        (void)a_row;                                                                                                  \
        if (columns == 1) tile(k, a, A_ROW, A_STEP, b, 1, HALF, FINISH, at);                                          \
        else if (columns == 2) tile(k, a, A_ROW, A_STEP, b, 2, HALF, FINISH, at);                                     \
        else tile(k, a, A_ROW, A_STEP, b, COLUMNS, HALF, FINISH, at);                                                 \
    }
#define TILES(NAME, HALF)                                                                                             \
    TILE(NAME##_packed, HALF, 1, ROWS, PLAIN)                                                                         \
    TILE(NAME##_plain, HALF, a_row, 1, PLAIN)                                                                         \
    TILE(NAME##_biased, HALF, a_row, 1, BIASED)                                                                       \
    TILE(NAME##_relu, HALF, a_row, 1, RELU)                                                                           \
    TILE(NAME##_masked, HALF, a_row, 1, MASKED)                                                                       \
    static tile_function *const NAME[] = {NAME##_plain, NAME##_biased, NAME##_relu, NAME##_masked, NAME##_packed};
TILES(float_tiles, 0)
#if HAS_HALF
TILES(half_tiles, 1)
#else
#define half_tiles float_tiles /* never used: the caller asks for bfloat16 only where `sac_has_half` */
#endif

/* out[p][i] = cell p of the column `column + i` of m, for i < width: along the rows of m, which for bfloat16 come in
   pairs. Columns beyond m's are whatever lies there; `width` a multiple of LANES, or ROWS of floats. */
static void pack_columns(cell *out, struct matrix m, int64_t column, int64_t cells, int64_t width) {
    for (int64_t p = 0; p < cells; p++, out += width) {
        const cell *from = (cell *)m.data + p * m.ld + column;
        const uint16_t *even = (uint16_t *)m.data + 2 * p * m.ld + column, *odd = even + m.ld;
        if (m.half)
            for (int64_t i = 0; i < width; i++) out[i] = even[i] | (cell)odd[i] << 16;
        else
            for (int64_t i = 0; i < width; i++) out[i] = from[i];
    }
}

/* Turns LANES vectors into their columns: at step s, blocks of s lanes are swapped between vectors s apart. */
INLINE void transpose(uvec rows[LANES]) {
    uvec lane;
    for (uint32_t i = 0; i < LANES; i++) lane[i] = i;
    for (uint32_t s = 1; s < LANES; s *= 2) {
        uvec second = (uvec)((lane & s) != 0), low = lane + (second & (LANES - s)), high = low + s;
        for (uint32_t i = 0; i < LANES; i++) {
            if (i & s) continue;
            uvec a = rows[i], b = rows[i + s];
            rows[i] = SHUFFLE(a, b, low);
            rows[i + s] = SHUFFLE(a, b, high);
        }
    }
}

/* out[p][i] = cell p of row `row + i` of m, for i < width, a multiple of LANES; rows from `rows` on are zeros. */
static void pack_rows(cell *out, struct matrix m, int64_t row, int64_t rows, int64_t cells, int64_t width) {
    int64_t ld = m.half ? m.ld / 2 : m.ld, whole = cells - cells % LANES;
    for (int64_t i = 0; i < width; i += LANES) {
        const cell *from = (cell *)m.data + (row + i) * ld;
        int64_t here = rows - row - i < LANES ? rows - row - i : LANES;
        for (int64_t p = 0; p < whole; p += LANES) {
            uvec block[LANES];
            for (int64_t t = 0; t < LANES; t++) block[t] = t < here ? (uvec)load(from + t * ld + p) : (uvec){0};
            transpose(block);
            for (int64_t t = 0; t < LANES; t++) store(out + (p + t) * width + i, (vec)block[t]);
        }
        for (int64_t p = whole; p < cells; p++)
            for (int64_t t = 0; t < LANES; t++) out[p * width + i + t] = t < here ? from[t * ld + p] : 0;
    }
}

enum kind { XW, GWT, HTG };

struct packs { cell *a, *b; };

static int64_t panel_width(int64_t left) { return left < WIDTH ? up(left, LANES) : WIDTH; }

/* C (m, n) = A B summed over k: X W, G W^T (b: W, whose rows are the columns of B) or H^T G (a: H, k rows). */
static void product(enum kind kind, struct matrix a, struct matrix b, int64_t m, int64_t n, int64_t k,
                    const struct result *result, struct packs packs) {
    int half = a.half;
    int64_t cells = half ? (k + 1) / 2 : k, a_row = half ? a.ld / 2 : a.ld;
    if (kind == HTG)
        for (int64_t i = 0; i < m; i += ROWS) pack_columns(packs.a + i * cells, a, i, cells, ROWS);
    tile_function *form = (half ? half_tiles : float_tiles)[kind == HTG ? PACKED : result->finish];
    for (int64_t j = 0, group; j < n; j += group) {
        /* A panel of B that does not fit into the first cache is read from the second: then several share a read of A. */
        group = 4 * cells * WIDTH > FIRST_CACHE ? GROUP * WIDTH : WIDTH;
        if (group > n - j) group = n - j;
        for (int64_t c = 0; c < group; c += WIDTH) {
            int64_t width = panel_width(n - j - c);
            cell *panel = packs.b + c * cells;
            if (kind == GWT) pack_rows(panel, b, j + c, n, cells, width);
            else pack_columns(panel, b, j + c, cells, width);
        }
        for (int64_t i = 0; i < m; i += ROWS) {
            const cell *rows = kind == HTG ? packs.a + i * cells : (cell *)a.data + i * a_row;
            for (int64_t c = 0; c < group; c += WIDTH) {
                struct place at = {i, j + c, m - i < ROWS ? (int)(m - i) : ROWS, result};
                form(cells, rows, a_row, packs.b + c * cells, (int)(panel_width(n - j - c) / LANES), &at);
            }
        }
    }
}

/* ---- networks ---- */

/* A net with what one call adds: its hidden weights in bfloat16, and room for the biases of its last layer. */
struct stack {
    struct net *net;
    uint16_t *low;
    float *last_bias;
    int half;
};

/* What one pass leaves: h[l], the input of layer l > 0, and g[l], the gradient at z_l but that of the last layer. */
struct pass { struct matrix h[MAX_LAYERS], g[MAX_LAYERS]; };

static int is_half(const struct stack *s, int64_t l) { return s->half && l > 0 && l < s->net->layers - 1; }

static int64_t offset(const struct net *n, int64_t layer) {
    int64_t at = 0;
    for (int64_t l = 0; l < layer; l++) at += n->copies * (n->sizes[l] + 1) * n->sizes[l + 1];
    return at;
}
static int64_t weight_at(const struct net *n, int64_t l, int64_t copy) {
    return offset(n, l) + copy * n->sizes[l] * n->sizes[l + 1];
}
static int64_t bias_at(const struct net *n, int64_t l, int64_t copy) {
    return offset(n, l) + (n->copies * n->sizes[l] + copy) * n->sizes[l + 1];
}
static struct matrix weights(const struct stack *s, int64_t l, int64_t copy) {
    const struct net *n = s->net;
    int64_t at = weight_at(n, l, copy), ld = n->sizes[l + (l < n->layers - 1)];
    int half = is_half(s, l);
    return (struct matrix){half ? (void *)(s->low + at) : (void *)(n->values + at), ld, half};
}

static struct stack new_stack(uintptr_t *at, struct net *net, int half) {
    struct stack s = {net, NULL, NULL, half};
    if (half) s.low = piece(at, 2 * offset(net, net->layers));
    s.last_bias = FLOATS(at, up(net->sizes[net->layers], ALIGN) + WIDTH);
    return s;
}

static struct pass new_pass(uintptr_t *at, const struct stack *s, int64_t rows, int64_t gradient_rows) {
    struct pass pass;
    for (int64_t l = 0; l < s->net->layers - 1; l++) {
        pass.h[l + 1] = new_matrix(at, rows, s->net->sizes[l + 1], is_half(s, l + 1));
        pass.g[l] = new_matrix(at, gradient_rows, s->net->sizes[l + 1], is_half(s, l));
    }
    return pass;
}

/* Rounds the hidden weights anew; due whenever they have changed. */
static void refresh(const struct stack *s) {
    for (int64_t l = 1; l < s->net->layers - 1 && s->half; l++)
        for (int64_t i = weight_at(s->net, l, 0); i < bias_at(s->net, l, 0); i += LANES)
            store_half(s->low + i, load(s->net->values + i));
}

static void forward(const struct stack *s, int64_t copy, struct matrix x, struct pass *pass, int64_t rows,
                    struct matrix out, struct packs packs) {
    const struct net *n = s->net;
    int64_t last = n->layers - 1, width = n->sizes[last];
    for (int64_t l = 0; l < last; l++) {
        struct result r = {pass->h[l + 1], RELU, n->values + bias_at(n, l, copy), {0}, NULL};
        product(XW, l ? pass->h[l] : x, weights(s, l, copy), rows, n->sizes[l + 1], n->sizes[l], &r, packs);
    }
    struct matrix h = pass->h[last], w = weights(s, last, copy);
    const float *bias = n->values + bias_at(n, last, copy);
    if (n->sizes[last + 1] > 1) {
        memcpy(s->last_bias, bias, 4 * n->sizes[last + 1]);
        struct result r = {out, BIASED, s->last_bias, {0}, NULL};
        product(GWT, h, w, rows, n->sizes[last + 1], width, &r, packs);
        return;
    }
    for (int64_t row = 0; row < rows; row++) {
        vec sum = {0};
        for (int64_t j = 0; j < width; j += LANES) sum += load_at(h, row, j) * load_at(w, 0, j);
        ((float *)out.data)[row] = sum_lanes(sum) + bias[0];
    }
}

static void sum_rows(struct matrix g, int64_t rows, int64_t n, float *out) {
    for (int64_t j = 0; j < n; j += LANES) {
        vec sum = {0};
        float lanes[LANES];
        for (int64_t row = 0; row < rows; row++) sum += load_at(g, row, j);
        store(lanes, sum);
        memcpy(out + j, lanes, 4 * (n - j < LANES ? n - j : LANES));
    }
}

/* The last layer of one output: dW, db, and the gradient below it. g: (rows,). */
static void single_output_backward(const struct stack *s, int64_t copy, struct pass *pass, const float *g, int64_t rows) {
    const struct net *n = s->net;
    int64_t last = n->layers - 1, width = n->sizes[last];
    struct matrix h = pass->h[last], below = pass->g[last - 1];
    float *dw = n->grads + weight_at(n, last, copy), *db = n->grads + bias_at(n, last, copy);
    for (int64_t j = 0; j < width; j += LANES) {
        vec sum = {0}, w = load_at(weights(s, last, copy), 0, j);
        for (int64_t row = 0; row < rows; row++) {
            vec value = load_at(h, row, j);
            sum += g[row] * value;
            store_at(below, row, j, pick(value <= 0.0f, splat(0.0f), g[row] * w));
        }
        store(dw + j, sum);
    }
    *db = 0;
    for (int64_t row = 0; row < rows; row++) *db += g[row];
}

/* Writes to the net's grads, given the gradient at the last layer: (rows, out), or (rows,) of one output. Rows of
   padding have zeros there. */
static void backward(const struct stack *s, int64_t copy, struct matrix x, struct pass *pass, struct matrix g_last,
                     int64_t rows, struct packs packs) {
    const struct net *n = s->net;
    int64_t last = n->layers - 1;
    if (n->sizes[last + 1] == 1) single_output_backward(s, copy, pass, g_last.data, rows);
    for (int64_t l = n->sizes[last + 1] == 1 ? last - 1 : last; l >= 0; l--) {
        int64_t in = n->sizes[l], out = n->sizes[l + 1];
        struct matrix h = l ? pass->h[l] : x, g = l == last ? g_last : pass->g[l], w = weights(s, l, copy);
        struct result dw = {{n->grads + weight_at(n, l, copy), w.ld, 0}, PLAIN, NULL, {0}, NULL};
        struct result below = {l ? pass->g[l - 1] : g, MASKED, NULL, h, NULL};
        if (l == last) product(HTG, g, h, out, in, rows, &dw, packs);
        else product(HTG, h, g, in, out, rows, &dw, packs);
        sum_rows(g, rows, out, n->grads + bias_at(n, l, copy));
        if (l == last) product(XW, g, w, rows, in, out, &below, packs);
        else if (l) product(GWT, g, w, rows, in, out, &below, packs);
    }
}

/* Row i of `out`: `scale` times the gradient of network `copy`, of one output, at the `count` input columns from `first`
   on, for row rows[i] of its last pass. */
static void input_gradient(const struct stack *s, int64_t copy, struct pass *pass, const int32_t *rows, int64_t n_rows,
                           float scale, int64_t first, int64_t count, struct matrix out, struct packs packs) {
    const struct net *n = s->net;
    int64_t last = n->layers - 1;
    struct matrix w = weights(s, last, copy), h = pass->h[last], top = pass->g[last - 1];
    for (int64_t i = 0; i < n_rows; i++)
        for (int64_t j = 0; j < n->sizes[last]; j += LANES)
            store_at(top, i, j, pick(load_at(h, rows[i], j) <= 0.0f, splat(0.0f), scale * load_at(w, 0, j)));
    for (int64_t l = last - 1; l > 0; l--) {
        struct result r = {pass->g[l - 1], MASKED, NULL, pass->h[l], rows};
        product(GWT, pass->g[l], weights(s, l, copy), n_rows, n->sizes[l], n->sizes[l + 1], &r, packs);
    }
    struct matrix w0 = weights(s, 0, copy);
    w0.data = (float *)w0.data + first * w0.ld;
    struct result r = {out, PLAIN, NULL, {0}, NULL};
    product(GWT, pass->g[0], w0, n_rows, count, n->sizes[1], &r, packs);
}

/* Kingma & Ba 2015, as torch.optim.Adam computes it; `done` steps more than a.steps have been made. */
static void step(struct adam a, int64_t done, int64_t n, float *restrict value, const float *restrict grad,
                 float *restrict m, float *restrict v) {
    double count = a.steps + (double)done + 1;
    float size = (float)(a.lr / (1 - pow(a.beta1, count))), scale = (float)(1 / sqrt(1 - pow(a.beta2, count)));
    float keep1 = (float)(1 - a.beta1), beta2 = (float)a.beta2, keep2 = (float)(1 - a.beta2), eps = (float)a.eps;
    float decay = (float)a.weight_decay;
    for (int64_t i = 0; i < n; i++) {
        float g = grad[i] + decay * value[i];
        m[i] += keep1 * (g - m[i]);
        v[i] = beta2 * v[i] + keep2 * g * g;
        value[i] -= size * m[i] / (sqrtf(v[i]) * scale + eps);
    }
}

static void step_net(const struct stack *s, int64_t done) {
    struct net *n = s->net;
    step(n->adam, done, offset(n, n->layers), n->values, n->grads, n->exp_avg, n->exp_avg_sq);
    refresh(s);
}

static void polyak(int64_t n, float *restrict target, const float *restrict value, float tau) {
    for (int64_t i = 0; i < n; i++) target[i] += tau * (value[i] - target[i]);
}

/* ---- the update ---- */

/* Everything that one update works on; (2, B, A) arrays hold s before s'. B rows are padded to `padded`. */
struct work {
    struct problem *p;
    struct stack actor, critic, target;
    struct packs packs;
    struct pass actor_pass, critic_pass[2];
    struct matrix states, pairs, head, head_grad, action_grad;
    float *actions, *rewards, *dones;                       /* (B, A), (B,), (B,): of the batch */
    float *noise, *mean, *log_std, *drawn, *slope, *spread; /* (2, B, A); slope: 1 - a^2, spread: std * noise */
    float *log_prob, *q[2], *td, *q_grad;                   /* (2, B), (B,), (B,), (B, A) */
    int32_t *chosen[2];                                     /* rows in which this critic is the smaller one */
    int64_t padded;
    float alpha;
    struct generator generator;
};

static int64_t greatest(int64_t a, int64_t b) { return a > b ? a : b; }

static int64_t widest(const struct net *n) {
    int64_t w = 0;
    for (int64_t l = 0; l <= n->layers; l++) w = greatest(w, n->sizes[l]);
    return up(w, ALIGN);
}

/* Lays the work out from `at` on, and returns its end. */
static uintptr_t lay_out(struct work *w, struct problem *p, uintptr_t at) {
    int64_t b = w->padded = up(p->batch, ALIGN), n = up(2 * p->batch * p->actions, ALIGN);
    int64_t width = greatest(widest(&p->actor), widest(&p->critic));
    w->p = p;
    w->actor = new_stack(&at, &p->actor, (int)p->half);
    w->critic = new_stack(&at, &p->critic, (int)p->half);
    w->target = new_stack(&at, &p->target, (int)p->half);
    w->packs.a = piece(&at, 4 * up(width, ROWS) * b);
    w->packs.b = piece(&at, 4 * GROUP * WIDTH * greatest(width, b));
    w->actor_pass = new_pass(&at, &w->actor, 2 * b, b);
    for (int k = 0; k < 2; k++) {
        w->critic_pass[k] = new_pass(&at, &w->critic, b, b);
        w->q[k] = FLOATS(&at, b);
        w->chosen[k] = piece(&at, 4 * b);
    }
    w->states = new_matrix(&at, 2 * b, p->obs, 0);
    w->pairs = new_matrix(&at, b, p->obs + p->actions, 0);
    w->head = new_matrix(&at, 2 * b, 2 * p->actions, 0);
    w->head_grad = new_matrix(&at, b, 2 * p->actions, 0);
    w->action_grad = new_matrix(&at, b, p->actions, 0);
    float **arrays[] = {&w->actions, &w->noise, &w->mean, &w->log_std, &w->drawn, &w->slope, &w->spread, &w->q_grad};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) *arrays[i] = FLOATS(&at, n);
    float **columns[] = {&w->rewards, &w->dones, &w->log_prob, &w->td};
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) *columns[i] = FLOATS(&at, 2 * b);
    return at;
}

static float *row_of(struct matrix m, int64_t row) { return (float *)m.data + row * m.ld; }

static const float *next_observation(const struct source *s, int64_t row, int64_t env, int64_t obs) {
    int64_t index = row * s->n_envs + env;
    if (row == (s->pos + s->size - 1) % s->size) return s->newest + env * obs;
    if (s->last_index[index] >= 0) return s->last_obs + s->last_index[index] * obs;
    return s->obs + ((row + 1) % s->size * s->n_envs + env) * obs;
}

static void gather(struct work *w, int64_t update) {
    enum { AHEAD = 8 };
    const struct problem *p = w->p;
    const struct source *s = &p->source;
    for (int64_t b = 0; b < p->batch; b++) {
        int64_t at = update * p->batch + b, row = s->next_obs ? 0 : s->rows[at], env = s->envs ? s->envs[at] : 0;
        int64_t index = s->next_obs ? at : row * s->n_envs + env;
        if (!s->next_obs && b + AHEAD < p->batch) {
            int64_t soon = s->rows[at + AHEAD] * s->n_envs + (s->envs ? s->envs[at + AHEAD] : 0);
            __builtin_prefetch(s->obs + soon * p->obs);
            __builtin_prefetch(s->obs + soon * p->obs + p->obs);
            __builtin_prefetch(s->actions + soon * p->actions);
            __builtin_prefetch(s->rewards + soon);
            __builtin_prefetch(s->last_index + soon);
        }
        const float *next = s->next_obs ? s->next_obs + at * p->obs : next_observation(s, row, env, p->obs);
        memcpy(row_of(w->states, b), s->obs + index * p->obs, 4 * p->obs);
        memcpy(row_of(w->states, w->padded + b), next, 4 * p->obs);
        memcpy(w->actions + b * p->actions, s->actions + index * p->actions, 4 * p->actions);
        w->rewards[b] = s->rewards[index];
        w->dones[b] = s->next_obs ? s->dones[index] : (float)s->terminated[index];
    }
}

/* The critics' input: s or s' beside these actions. */
static void pair_up(struct work *w, int64_t first_state, const float *actions) {
    const struct problem *p = w->p;
    for (int64_t b = 0; b < p->batch; b++) {
        float *row = row_of(w->pairs, b);
        memcpy(row, row_of(w->states, first_state + b), 4 * p->obs);
        memcpy(row + p->obs, actions + b * p->actions, 4 * p->actions);
    }
}

static const float LOG_STD_MIN = -20, LOG_STD_MAX = 2, TANH_EPSILON = 1e-6f;
static const double HALF_LOG_2PI = 0.91893853320467274178;

/* Draws a_pi and a', and their log densities. */
static void draw_actions(struct work *w, int64_t update) {
    const struct problem *p = w->p;
    int64_t a = p->actions, n = 2 * p->batch * a;
    if (p->noise) memcpy(w->noise, p->noise + update * n, 4 * n);
    else draw_normals(&w->generator, w->noise, up(n, ALIGN));
    forward(&w->actor, 0, w->states, &w->actor_pass, 2 * w->padded, w->head, w->packs);
    for (int64_t i = 0; i < 2 * p->batch; i++) {
        const float *row = row_of(w->head, i < p->batch ? i : w->padded + i - p->batch);
        memcpy(w->mean + i * a, row, 4 * a);
        memcpy(w->log_std + i * a, row + a, 4 * a);
    }
    for (int64_t i = 0; i < n; i += LANES) {
        vec raw = load(w->log_std + i), e = load(w->noise + i);
        vec log_std = pick(raw < LOG_STD_MIN, splat(LOG_STD_MIN), pick(raw > LOG_STD_MAX, splat(LOG_STD_MAX), raw));
        vec spread = vexp(log_std) * e, drawn = vtanh(load(w->mean + i) + spread), slope = 1.0f - drawn * drawn;
        store(w->spread + i, spread);
        store(w->drawn + i, drawn);
        store(w->slope + i, slope);
        store(w->noise + i, log_std + e * e * 0.5f + vlog(slope + TANH_EPSILON)); /* of the log density, negated */
    }
    for (int64_t i = 0; i < 2 * p->batch; i++) {
        float sum = 0;
        for (int64_t j = 0; j < a; j++) sum += w->noise[i * a + j];
        w->log_prob[i] = -sum - (float)(HALF_LOG_2PI * a);
    }
}

/* Steps log alpha where it is learned; alpha is that of before the step. */
static void step_alpha(struct work *w, int64_t done) {
    struct problem *p = w->p;
    w->alpha = (float)p->fixed_alpha;
    if (p->log_alpha) {
        double gap = p->target_entropy;
        for (int64_t b = 0; b < p->batch; b++) gap += w->log_prob[b] / (double)p->batch;
        float grad = (float)-gap;
        w->alpha = expf(*p->log_alpha);
        p->sums[1] += *p->log_alpha * (double)grad;
        step(p->alpha_adam, done, 1, p->log_alpha, &grad, p->alpha_exp_avg, p->alpha_exp_avg_sq);
    }
    p->sums[0] += w->alpha;
}

static float least(float a, float b) { return a <= b ? a : b <= a ? b : a + b; }

static void values_of(struct work *w, const struct stack *s) {
    for (int64_t k = 0; k < 2; k++)
        forward(s, k, w->pairs, &w->critic_pass[k], w->padded, (struct matrix){w->q[k], 1, 0}, w->packs);
}

static void step_critics(struct work *w, int64_t done) {
    struct problem *p = w->p;
    float *y = w->dones; /* in place: each is read once */
    pair_up(w, w->padded, w->drawn + p->batch * p->actions);
    values_of(w, &w->target);
    for (int64_t b = 0; b < p->batch; b++) {
        float soft = least(w->q[0][b], w->q[1][b]) - w->alpha * w->log_prob[p->batch + b];
        y[b] = w->rewards[b] + (1 - w->dones[b]) * (float)p->gamma * soft;
    }
    pair_up(w, 0, w->actions);
    values_of(w, &w->critic);
    double loss = 0;
    for (int64_t k = 0; k < 2; k++) {
        memset(w->td, 0, 4 * w->padded);
        for (int64_t b = 0; b < p->batch; b++) {
            float error = w->q[k][b] - y[b];
            loss += (double)error * error;
            w->td[b] = error / (float)p->batch;
        }
        backward(&w->critic, k, w->pairs, &w->critic_pass[k], (struct matrix){w->td, 1, 0}, w->padded, w->packs);
    }
    p->sums[2] += loss * 0.5 / (double)p->batch;
    step_net(&w->critic, done);
}

/* dL/da through the smaller critic of each row, to q_grad; adds to the actor's loss. */
static void action_gradient(struct work *w) {
    struct problem *p = w->p;
    int64_t count[2] = {0, 0}, a = p->actions;
    double loss = 0;
    pair_up(w, 0, w->drawn);
    values_of(w, &w->critic);
    for (int64_t b = 0; b < p->batch; b++) {
        int k = !(w->q[0][b] <= w->q[1][b]);
        w->chosen[k][count[k]++] = (int32_t)b;
        loss += w->alpha * w->log_prob[b] - least(w->q[0][b], w->q[1][b]);
    }
    p->sums[3] += loss / (double)p->batch;
    for (int k = 0; k < 2; k++) {
        input_gradient(&w->critic, k, &w->critic_pass[k], w->chosen[k], count[k], -1.0f / (float)p->batch, p->obs, a,
                       w->action_grad, w->packs);
        for (int64_t i = 0; i < count[k]; i++)
            memcpy(w->q_grad + w->chosen[k][i] * a, row_of(w->action_grad, i), 4 * a);
    }
}

/* The chain rule from the action to mean and log_std; with the noise held, log N(u) depends on log_std alone. */
static void step_actor(struct work *w, int64_t done) {
    struct problem *p = w->p;
    int64_t a = p->actions, n = p->batch * a;
    float weight = w->alpha / (float)p->batch;
    for (int64_t i = 0; i < n; i += LANES) {
        vec drawn = load(w->drawn + i), slope = load(w->slope + i), raw = load(w->log_std + i);
        vec mean_grad = (load(w->q_grad + i) + 2.0f * weight * drawn / (slope + TANH_EPSILON)) * slope;
        vec log_std_grad = mean_grad * load(w->spread + i) - weight;
        store(w->mean + i, mean_grad);
        store(w->spread + i, pick((raw < LOG_STD_MIN) | (raw > LOG_STD_MAX), splat(0.0f), log_std_grad));
    }
    for (int64_t b = 0; b < p->batch; b++) {
        memcpy(row_of(w->head_grad, b), w->mean + b * a, 4 * a);
        memcpy(row_of(w->head_grad, b) + a, w->spread + b * a, 4 * a);
    }
    backward(&w->actor, 0, w->states, &w->actor_pass, w->head_grad, w->padded, w->packs);
    step_net(&w->actor, done);
}

/* ---- acting: a few rows, each by itself, so that an action does not hang on which others are asked for with it ---- */

/* COUNT vectors of z = x W + b from column j on. */
INLINE void act_columns(const int count, int64_t k, const float *x, const float *w, int64_t ld, const float *b, float *z) {
    vec sum[8];
    for (int j = 0; j < count; j++) sum[j] = load(b + j * LANES);
    for (int64_t i = 0; i < k; i++)
        for (int j = 0; j < count; j++) sum[j] += x[i] * load(w + i * ld + j * LANES);
    for (int j = 0; j < count; j++) store(z + j * LANES, pick(sum[j] < 0.0f, splat(0.0f), sum[j]));
}

/* The last layer's values for one row; in, out: room for the widest hidden layer each. */
static void act_row(const struct net *n, const float *x, float *in, float *out, float *head) {
    int64_t last = n->layers - 1;
    for (int64_t l = 0; l < last; l++) {
        int64_t k = n->sizes[l], width = n->sizes[l + 1], j = 0;
        const float *w = n->values + weight_at(n, l, 0), *b = n->values + bias_at(n, l, 0);
        for (; j + 8 * LANES <= width; j += 8 * LANES) act_columns(8, k, x, w + j, width, b + j, out + j);
        for (; j < width; j += LANES) act_columns(1, k, x, w + j, width, b + j, out + j);
        float *swap = in;
        x = in = out, out = swap;
    }
    for (int64_t a = 0; a < n->sizes[last + 1]; a++) {
        const float *w = n->values + weight_at(n, last, 0) + a * n->sizes[last];
        vec sum = {0};
        for (int64_t j = 0; j < n->sizes[last]; j += LANES) sum += load(x + j) * load(w + j);
        head[a] = sum_lanes(sum) + n->values[bias_at(n, last, 0) + a];
    }
}

#define EXPORT __attribute__((visibility("default")))

EXPORT int64_t sac_has_half(void) { return HAS_HALF; }

/* Fills n floats, n a multiple of 16, with the noise that a seed gives. */
EXPORT void sac_normals(uint64_t seed, float *out, int64_t n) {
    struct generator g;
    seed_generator(&g, seed);
    draw_normals(&g, out, n);
}

INLINE void spin(int64_t rounds, float *data, const int half) {
    vec sum[ROWS][COLUMNS] = {{{0}}}, row[COLUMNS];
    for (int j = 0; j < COLUMNS; j++) row[j] = load(data + j * LANES);
    for (int64_t p = 0; p < rounds; p++) {
        for (int i = 0; i < ROWS; i++) {
            cell a = *(volatile cell *)(data + WIDTH + i); /* or one sum could be taken for another */
            for (int j = 0; j < COLUMNS; j++) sum[i][j] = dot(sum[i][j], a, row[j], half);
        }
    }
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < COLUMNS; j++) store(data + j * LANES, load(data + j * LANES) + sum[i][j]);
}

/* Multiplies and adds in registers, `rounds` times over, which is the most that this processor can; returns how many
   operations that were. data: zeros for WIDTH + ROWS floats (72 are enough). */
EXPORT int64_t sac_spin(int64_t rounds, float *data, int64_t half) {
    if (HAS_HALF && half) spin(rounds, data, 1);
    else spin(rounds, data, 0);
    return rounds * ROWS * COLUMNS * LANES * (HAS_HALF && half ? 4 : 2);
}

/* The bytes of workspace that `sac_update` needs for this problem, of which only the sizes are read. */
EXPORT int64_t sac_workspace(struct problem *p) {
    struct work w;
    return (int64_t)lay_out(&w, p, 0) + 64;
}

/* Makes p->updates updates. workspace: as many bytes as `sac_workspace` says, zeros or what an earlier call on a
   problem of the same sizes left there: the padding of its matrices is zero and stays it. */
EXPORT void sac_update(struct problem *p, char *workspace) {
    struct work w;
    lay_out(&w, p, (uintptr_t)up((int64_t)(uintptr_t)workspace, 64));
    seed_generator(&w.generator, p->seed);
    memset(p->sums, 0, sizeof p->sums);
    refresh(&w.actor), refresh(&w.critic), refresh(&w.target);
    for (int64_t u = 0; u < p->updates; u++) {
        gather(&w, u);
        draw_actions(&w, u);
        step_alpha(&w, u);
        step_critics(&w, u);
        action_gradient(&w);
        step_actor(&w, u);
        if ((p->done_updates + u) % p->target_interval == 0) {
            polyak(offset(&p->critic, p->critic.layers), p->target.values, p->critic.values, (float)p->tau);
            refresh(&w.target);
        }
    }
}

/* Actions tanh(mean + std e) of observations (rows, O), in float32. e: noise (rows, A), or NULL for none.
   scratch: room for two rows of the widest layer, one of the last and 64 floats. */
EXPORT void sac_act(const struct net *actor, int64_t rows, const float *obs, const float *e, float *scratch, float *actions) {
    int64_t a = actor->sizes[actor->layers] / 2, wide = up(widest(actor), ALIGN);
    float *head = scratch + 2 * wide, *drawn = head + up(2 * a, ALIGN);
    for (int64_t row = 0; row < rows; row++) {
        act_row(actor, obs + row * actor->sizes[0], scratch, scratch + wide, head);
        for (int64_t j = 0; j < a; j += LANES) {
            float raw[LANES] = {0}, noise[LANES] = {0}, mean[LANES] = {0};
            int64_t n = a - j < LANES ? a - j : LANES;
            memcpy(mean, head + j, 4 * n), memcpy(raw, head + a + j, 4 * n);
            if (e) memcpy(noise, e + row * a + j, 4 * n);
            vec l = load(raw), spread = vexp(pick(l < LOG_STD_MIN, splat(LOG_STD_MIN), pick(l > LOG_STD_MAX, splat(LOG_STD_MAX), l)));
            store(drawn, vtanh(load(mean) + (e ? spread * load(noise) : splat(0.0f))));
            memcpy(actions + row * a + j, drawn, 4 * n);
        }
    }
}
