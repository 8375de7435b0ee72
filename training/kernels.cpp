// The parts of RecurrentGemma that are no matrix product, forward and backward, for one processor core.
//
// Tokens lie in rows of L places. A row is a tree: a stream of talk, then questions, each of which goes on from some place
// of the stream. `prev[b, t]` is the place before t in its branch, -1 for the state carried from the chunk before, -2 for
// the beginning of a stream. A parent always stands before its children, so one pass forward and one backward do.
//
// ACT is the type of activations: bf16 (default) or float (-DACT_FLOAT).
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>
#include <algorithm>

#ifdef ACT_FLOAT
typedef float act;
static inline float get(act x) { return x; }
static inline act put(float x) { return x; }
#else
typedef uint16_t act;
static inline float get(act x) { uint32_t u = uint32_t(x) << 16; float f; memcpy(&f, &u, 4); return f; }
static inline act put(float f) { uint32_t u; memcpy(&u, &f, 4); return act((u + 0x7fff + ((u >> 16) & 1)) >> 16); }
#endif

static inline float exp_(float x) {
    x = std::min(std::max(x, -87.0f), 87.0f);
    float n = std::floor(x * 1.44269504f + 0.5f), r = x - n * 0.693359375f + n * 2.12194440e-4f;
    float p = 1.0f + r * (1.0f + r * (0.5f + r * (0.166666667f + r * (0.0416666667f + r * (0.00833333333f + r * 0.00138888889f)))));
    int32_t i = (int32_t(n) + 127) << 23; float s; memcpy(&s, &i, 4);
    return p * s;
}
static inline float sigmoid(float x) { return 1.0f / (1.0f + exp_(-x)); }
static const float G1 = 1.5957691216f, G3 = 0.0713548163f;    // 2 sqrt(2/pi), the same times 0.044715
static inline float gelu(float x) { return x * sigmoid(x * (G1 + G3 * x * x)); }
static inline float gelu_slope(float x) { float s = sigmoid(x * (G1 + G3 * x * x)); return s + x * s * (1 - s) * (G1 + 3 * G3 * x * x); }
static inline float kept(uint32_t seed, uint32_t i, uint32_t limit, float scale) {   // 0 or 1 / (1 - p), the same each time
    uint32_t h = (i + seed) * 0x9E3779B1u; h ^= h >> 15; h *= 0x85EBCA77u; h ^= h >> 13; h *= 0xC2B2AE3Du; h ^= h >> 16;
    return h >= limit ? scale : 0.0f;
}

extern "C" {

// xo = x + drop(delta + bias); y = rms_norm(xo) (1 + w)
void add_rms_fwd(int64_t N, int D, const float* __restrict__ x, const act* __restrict__ delta, const float* __restrict__ bias, float p, uint32_t seed, const float* __restrict__ w, float* __restrict__ xo, act* __restrict__ y, float* __restrict__ inv) {
    uint32_t limit = uint32_t(p * 4294967295.0); float scale = 1 / (1 - p);
    for (int64_t n = 0; n < N; n++) {
        const float* a = x + n * D; float* o = xo + n * D; float s = 0;
        if (delta) {
            const act* d = delta + n * D; uint32_t at = uint32_t(n * D);
            if (p > 0) _Pragma("GCC ivdep") for (int j = 0; j < D; j++) o[j] = a[j] + (get(d[j]) + bias[j]) * kept(seed, at + j, limit, scale);
            else _Pragma("GCC ivdep") for (int j = 0; j < D; j++) o[j] = a[j] + get(d[j]) + bias[j];
        } else memcpy(o, a, D * 4);
        _Pragma("GCC ivdep") for (int j = 0; j < D; j++) s += o[j] * o[j];
        float r = 1 / std::sqrt(s / D + 1e-6f); inv[n] = r; act* q = y + n * D;
        _Pragma("GCC ivdep") for (int j = 0; j < D; j++) q[j] = put(o[j] * r * (1 + w[j]));
    }
}
void add_rms_bwd(int64_t N, int D, const float* __restrict__ xo, const float* __restrict__ inv, const float* __restrict__ w, float p, uint32_t seed, const act* __restrict__ gy, const float* __restrict__ gxo, float* __restrict__ gx, act* __restrict__ gdelta, float* __restrict__ gw, float* __restrict__ gbias) {
    uint32_t limit = uint32_t(p * 4294967295.0); float scale = 1 / (1 - p);
    for (int64_t n = 0; n < N; n++) {
        const float* x = xo + n * D; const act* g = gy + n * D; const float* go = gxo ? gxo + n * D : nullptr; float* o = gx + n * D; float r = inv[n], s = 0;
        _Pragma("GCC ivdep") for (int j = 0; j < D; j++) s += get(g[j]) * (1 + w[j]) * x[j];
        s *= r * r * r / D;
        _Pragma("GCC ivdep") for (int j = 0; j < D; j++) { float q = get(g[j]); gw[j] += q * x[j] * r; o[j] = r * q * (1 + w[j]) - x[j] * s; }
        if (go) for (int j = 0; j < D; j++) o[j] += go[j];
        if (gdelta) {
            act* d = gdelta + n * D; uint32_t at = uint32_t(n * D);
            if (p > 0) _Pragma("GCC ivdep") for (int j = 0; j < D; j++) { float q = o[j] * kept(seed, at + j, limit, scale); d[j] = put(q); gbias[j] += q; }
            else _Pragma("GCC ivdep") for (int j = 0; j < D; j++) { d[j] = put(o[j]); gbias[j] += o[j]; }
        }
    }
}

// out = gelu(g + bg) (u + bu), gu = [g | u]
void geglu_fwd(int64_t N, int M, const act* __restrict__ gu, const float* __restrict__ b, act* __restrict__ out) {
    for (int64_t n = 0; n < N; n++) {
        const act *g = gu + n * 2 * M, *u = g + M; act* o = out + n * M;
        _Pragma("GCC ivdep") for (int j = 0; j < M; j++) o[j] = put(gelu(get(g[j]) + b[j]) * (get(u[j]) + b[M + j]));
    }
}
void geglu_bwd(int64_t N, int M, const act* __restrict__ gu, const float* __restrict__ b, const act* __restrict__ go, act* __restrict__ ggu, float* __restrict__ gb) {
    for (int64_t n = 0; n < N; n++) {
        const act *g = gu + n * 2 * M, *u = g + M, *o = go + n * M; act *dg = ggu + n * 2 * M, *du = dg + M;
        _Pragma("GCC ivdep") for (int j = 0; j < M; j++) {
            float x = get(g[j]) + b[j], y = get(u[j]) + b[M + j], q = get(o[j]);
            float s = sigmoid(x * (G1 + G3 * x * x)), a = q * y * (s + x * s * (1 - s) * (G1 + 3 * G3 * x * x)), c = q * x * s;
            dg[j] = put(a); du[j] = put(c); gb[j] += a; gb[M + j] += c;
        }
    }
}

// c = conv1d(z + zb): w[3] weighs the token itself, w[2] the one before. carried [B, 3, E] holds z + zb, oldest first.
void conv_fwd(int B, int L, int E, const act* __restrict__ z, const float* __restrict__ zb, const float* __restrict__ w, const float* __restrict__ cb, const int32_t* __restrict__ prev, const float* __restrict__ carried, act* __restrict__ c) {
    std::vector<float> buf(E);
    for (int b = 0; b < B; b++) for (int t = 0; t < L; t++) {
        const act* x = z + (int64_t(b) * L + t) * E; float* s = buf.data();
        _Pragma("GCC ivdep") for (int e = 0; e < E; e++) s[e] = cb[e] + (get(x[e]) + zb[e]) * w[3 * E + e];
        int at = t;                                                     // >= 0 a place, -1, -2, -3 the carried ones, below nothing
        bool stop = false;
        for (int k = 2; k >= 0 && !stop; k--) {
            if (at >= 0) { at = prev[b * L + at]; if (at == -2) { stop = true; break; } } else at--;
            if (at >= 0) { const act* q = z + (int64_t(b) * L + at) * E; for (int e = 0; e < E; e++) s[e] += (get(q[e]) + zb[e]) * w[k * E + e]; }
            else { const float* q = carried + (int64_t(b) * 3 + 3 + at) * E; for (int e = 0; e < E; e++) s[e] += q[e] * w[k * E + e]; }
        }
        act* o = c + (int64_t(b) * L + t) * E;
        _Pragma("GCC ivdep") for (int e = 0; e < E; e++) o[e] = put(s[e]);
    }
}
void conv_bwd(int B, int L, int E, const act* __restrict__ z, const float* __restrict__ zb, const float* __restrict__ w, const int32_t* __restrict__ prev, const float* __restrict__ carried, const act* __restrict__ gc, act* __restrict__ gz, float* __restrict__ gzb, float* __restrict__ gw, float* __restrict__ gcb) {
    std::vector<float> acc(size_t(L) * E);
    for (int b = 0; b < B; b++) {
        std::fill(acc.begin(), acc.end(), 0.0f);
        for (int t = 0; t < L; t++) {
            const act *g = gc + (int64_t(b) * L + t) * E, *x = z + (int64_t(b) * L + t) * E; float* a = acc.data() + size_t(t) * E;
            _Pragma("GCC ivdep") for (int e = 0; e < E; e++) { float q = get(g[e]); gcb[e] += q; gw[3 * E + e] += q * (get(x[e]) + zb[e]); a[e] += q * w[3 * E + e]; }
            int at = t;
            for (int k = 2; k >= 0; k--) {
                if (at >= 0) { at = prev[b * L + at]; if (at == -2) break; } else at--;
                if (at >= 0) {
                    const act* q = z + (int64_t(b) * L + at) * E; float* d = acc.data() + size_t(at) * E;
                    _Pragma("GCC ivdep") for (int e = 0; e < E; e++) { float r = get(g[e]); gw[k * E + e] += r * (get(q[e]) + zb[e]); d[e] += r * w[k * E + e]; }
                } else { const float* q = carried + (int64_t(b) * 3 + 3 + at) * E; for (int e = 0; e < E; e++) gw[k * E + e] += get(g[e]) * q[e]; }
            }
        }
        act* o = gz + int64_t(b) * L * E;
        for (int t = 0; t < L; t++) for (int e = 0; e < E; e++) { float q = acc[size_t(t) * E + e]; gzb[e] += q; o[size_t(t) * E + e] = put(q); }
    }
}

// out = rg_lru(x) gelu(y + yb); gate [H, B L, 2 E / H] before its bias, input gates first; sp = softplus(recurrent_param)
void lru_fwd(int B, int L, int E, int H, const act* __restrict__ x, const act* __restrict__ gate, const float* __restrict__ bi, const float* __restrict__ br, const float* __restrict__ sp, const act* __restrict__ y, const float* __restrict__ yb, const int32_t* __restrict__ prev, const float* __restrict__ h0, float* __restrict__ h, act* __restrict__ out) {
    int hd = E / H; int64_t N = int64_t(B) * L;
    for (int b = 0; b < B; b++) for (int t = 0; t < L; t++) {
        int64_t n = int64_t(b) * L + t; int pv = prev[n]; bool start = pv == -2;
        const float* hp = pv >= 0 ? h + (int64_t(b) * L + pv) * E : h0 + int64_t(b) * E; float* ho = h + n * E; act* o = out + n * E; const act *xx = x + n * E, *yy = y + n * E;
        for (int k = 0; k < H; k++) {
            const act *gi = gate + (int64_t(k) * N + n) * 2 * hd, *gr = gi + hd;
            _Pragma("GCC ivdep") for (int j = 0; j < hd; j++) {
                int e = k * hd + j;
                float i = sigmoid(get(gi[j]) + bi[e]), r = sigmoid(get(gr[j]) + br[e]), a = exp_(-8 * r * sp[e]), m = std::sqrt(std::max(1 - a * a, 1e-6f));
                a = start ? 0.0f : a; m = start ? 1.0f : m;
                float v = a * hp[e] + m * i * get(xx[e]);
                ho[e] = v; o[e] = put(v * gelu(get(yy[e]) + yb[e]));
            }
        }
    }
}
void lru_bwd(int B, int L, int E, int H, const act* __restrict__ x, const act* __restrict__ gate, const float* __restrict__ bi, const float* __restrict__ br, const float* __restrict__ sp, const act* __restrict__ y, const float* __restrict__ yb, const int32_t* __restrict__ prev, const float* __restrict__ h0, const float* __restrict__ h, const act* __restrict__ go,
             act* __restrict__ gx, act* __restrict__ ggate, float* __restrict__ gbi, float* __restrict__ gbr, float* __restrict__ gsp, act* __restrict__ gyo, float* __restrict__ gyb) {
    int hd = E / H; int64_t N = int64_t(B) * L; std::vector<float> acc(size_t(L) * E), dump(E);
    for (int b = 0; b < B; b++) {
        std::fill(acc.begin(), acc.end(), 0.0f);
        for (int t = L - 1; t >= 0; t--) {
            int64_t n = int64_t(b) * L + t; int pv = prev[n]; bool start = pv == -2;
            const float* hp = pv >= 0 ? h + (int64_t(b) * L + pv) * E : h0 + int64_t(b) * E; const float* hh = h + n * E;
            float* gp = pv >= 0 ? acc.data() + size_t(pv) * E : dump.data(); float* ga = acc.data() + size_t(t) * E;
            const act *xx = x + n * E, *yy = y + n * E, *g = go + n * E; act *dx = gx + n * E, *dy = gyo + n * E;
            for (int k = 0; k < H; k++) {
                const act *gi = gate + (int64_t(k) * N + n) * 2 * hd, *gr = gi + hd; act *di = ggate + (int64_t(k) * N + n) * 2 * hd, *dr = di + hd;
                _Pragma("GCC ivdep") for (int j = 0; j < hd; j++) {
                    int e = k * hd + j;
                    float q = get(g[e]), yv = get(yy[e]) + yb[e], s = sigmoid(yv * (G1 + G3 * yv * yv));
                    float v = ga[e] + q * yv * s, dyv = q * hh[e] * (s + yv * s * (1 - s) * (G1 + 3 * G3 * yv * yv));
                    dy[e] = put(dyv); gyb[e] += dyv;
                    float i = sigmoid(get(gi[j]) + bi[e]), r = sigmoid(get(gr[j]) + br[e]), a = exp_(-8 * r * sp[e]), m = std::sqrt(std::max(1 - a * a, 1e-6f)), xv = get(xx[e]);
                    float live = start ? 0.0f : 1.0f, ms = start ? 1.0f : m;
                    float da = live * (v * hp[e] - v * i * xv * a / m), dla = da * a;
                    float drv = dla * -8 * sp[e] * r * (1 - r), div = v * ms * xv * i * (1 - i);
                    gsp[e] += dla * -8 * r; dr[j] = put(drv); di[j] = put(div); gbr[e] += drv; gbi[e] += div;
                    dx[e] = put(v * ms * i); gp[e] += live * a * v;
                }
            }
        }
    }
}

// softmax of scale times the scores over two ranges of keys, [r0, r1) and [r2, r3), zero elsewhere, in place. scores [N, heads, S], range [N, 4]
void softmax_fwd(int64_t N, int heads, int S, act* __restrict__ scores, const int32_t* __restrict__ range, float scale) {
    std::vector<float> buf(S); float* p = buf.data();
    for (int64_t n = 0; n < N; n++) for (int k = 0; k < heads; k++) {
        act* s = scores + (n * heads + k) * S; const int32_t* r = range + n * 4; float top = -1e30f, sum = 0;
        for (int u = 0; u < 2; u++) for (int j = r[2 * u]; j < r[2 * u + 1]; j++) { p[j] = get(s[j]) * scale; top = std::max(top, p[j]); }
        for (int u = 0; u < 2; u++) for (int j = r[2 * u]; j < r[2 * u + 1]; j++) { p[j] = exp_(p[j] - top); sum += p[j]; }
        memset(s, 0, S * sizeof(act)); float f = 1 / sum;
        for (int u = 0; u < 2; u++) for (int j = r[2 * u]; j < r[2 * u + 1]; j++) s[j] = put(p[j] * f);
    }
}
// the slope of the scores, in the place of the slope of the shares
void softmax_bwd(int64_t N, int heads, int S, const act* __restrict__ share, act* __restrict__ g, const int32_t* __restrict__ range, float scale) {
    for (int64_t n = 0; n < N; n++) for (int k = 0; k < heads; k++) {
        const act* p = share + (n * heads + k) * S; act* d = g + (n * heads + k) * S; const int32_t* r = range + n * 4; float sum = 0;
        for (int u = 0; u < 2; u++) for (int j = r[2 * u]; j < r[2 * u + 1]; j++) sum += get(p[j]) * get(d[j]);
        int end = 0;
        for (int u = 0; u < 2; u++) {
            if (r[2 * u + 1] <= r[2 * u]) continue;
            memset(d + end, 0, (r[2 * u] - end) * sizeof(act)); end = r[2 * u + 1];
            for (int j = r[2 * u]; j < end; j++) d[j] = put(get(p[j]) * (get(d[j]) - sum) * scale);
        }
        memset(d + end, 0, (S - end) * sizeof(act));
    }
}

// rotates the first half of each head by the token's angles; sign -1 turns back
void rope(int64_t N, int heads, int hd, const act* __restrict__ x, const float* __restrict__ cs, const float* __restrict__ sn, float sign, act* __restrict__ out) {
    int q = hd / 4;
    for (int64_t n = 0; n < N; n++) for (int k = 0; k < heads; k++) {
        const act* a = x + (n * heads + k) * hd; act* o = out + (n * heads + k) * hd; const float *c = cs + n * q, *s = sn + n * q;
        _Pragma("GCC ivdep") for (int j = 0; j < q; j++) { float u = get(a[j]), v = get(a[j + q]), sj = s[j] * sign; o[j] = put(u * c[j] - v * sj); o[j + q] = put(v * c[j] + u * sj); }
        memcpy(o + 2 * q, a + 2 * q, (hd - 2 * q) * sizeof(act));
    }
}

// cross entropy of 30 tanh(l / 30); the logits are replaced by the gradient of sum(weight * loss)
void cross_entropy(int64_t M, int V, act* __restrict__ logits, const int32_t* __restrict__ target, const float* __restrict__ weight, float* __restrict__ loss) {
    std::vector<float> c(V), p(V);
    for (int64_t m = 0; m < M; m++) {
        act* l = logits + m * V; float top = -1e30f, sum = 0;
        _Pragma("GCC ivdep") for (int j = 0; j < V; j++) { float z = exp_(get(l[j]) * (2 / 30.0f)); c[j] = 1 - 2 / (z + 1); }
        _Pragma("GCC ivdep") for (int j = 0; j < V; j++) top = std::max(top, c[j]);
        _Pragma("GCC ivdep") for (int j = 0; j < V; j++) { p[j] = exp_(30 * (c[j] - top)); sum += p[j]; }
        loss[m] = std::log(sum) - 30 * (c[target[m]] - top);
        float w = weight[m], f = w / sum; p[target[m]] -= sum;
        _Pragma("GCC ivdep") for (int j = 0; j < V; j++) l[j] = put(f * p[j] * (1 - c[j] * c[j]));
    }
}

// Adam with decoupled decay on one flat vector; grad is scaled by `clip`
void adam(int64_t n, float* __restrict__ w, float* __restrict__ m, float* __restrict__ v, const float* __restrict__ g, const float* __restrict__ rate, const float* __restrict__ decay, float clip, float lr, float b1, float b2, float c1, float c2) {
    for (int64_t i = 0; i < n; i++) {
        float q = g[i] * clip; m[i] = b1 * m[i] + (1 - b1) * q; v[i] = b2 * v[i] + (1 - b2) * q * q;
        w[i] -= lr * rate[i] * ((m[i] * c1) / (std::sqrt(v[i] * c2) + 1e-8f) + decay[i] * w[i]);
    }
}
}
