// What PyTorch is slow at when it trains a mobile network on a CPU, for values of [n, height, width, channels] in
// bfloat16 or float32: depthwise convolutions with their gradients, and batch normalisation with ReLU6 in as few
// passes over memory as there can be. `fast.py` builds, binds and checks it. Channels come in whole vectors of 8.

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace {

using bf16 = uint16_t;

constexpr int V = 8;
typedef float vec __attribute__((vector_size(4 * V), aligned(4)));
typedef uint32_t bits __attribute__((vector_size(4 * V)));
typedef uint16_t half __attribute__((vector_size(2 * V), aligned(2)));

inline vec load(const bf16* p) {
    bits wide = __builtin_convertvector(*reinterpret_cast<const half*>(p), bits) << 16;
    return reinterpret_cast<vec&>(wide);
}

// Rounds to the nearest, ties to even; values are finite.
inline void store(bf16* p, vec v) {
    bits b = reinterpret_cast<bits&>(v);
    b = (b + 0x7fff + ((b >> 16) & 1)) >> 16;
    *reinterpret_cast<half*>(p) = __builtin_convertvector(b, half);
}

inline vec load(const float* p) { return *reinterpret_cast<const vec*>(p); }
inline void store(float* p, vec v) { *reinterpret_cast<vec*>(p) = v; }

inline vec& at(float* p) { return *reinterpret_cast<vec*>(p); }
inline const vec& at(const float* p) { return *reinterpret_cast<const vec*>(p); }

// A vector of channels of one picture with a border of zeros, as float32: [height + before + after, ..., V].
struct Padded {
    int width;
    std::vector<float> values;

    template <typename E>
    void fill(const E* x, int h, int w, int c, int before, int after) {
        width = w + before + after;
        values.assign(size_t(h + before + after) * width * V, 0.0f);
        for (int y = 0; y < h; y++)
            for (int i = 0; i < w; i++) at(pixel(y + before, i + before)) = load(x + (size_t(y) * w + i) * c);
    }
    float* pixel(int y, int x) { return values.data() + (size_t(y) * width + x) * V; }
};

struct Depthwise {
    int n, h, w, c, k, s;
    int out_h() const { return (h + s - 1) / s; }
    int out_w() const { return (w + s - 1) / s; }
    // "Same" padding as TensorFlow has it, for sides that the stride divides.
    int before() const { return (k - s) / 2; }
    int after() const { return k - s - before(); }
};

template <int K, int S, typename E>
void forward(const Depthwise& d, const E* x, const float* weight, E* y) {
    const int oh = d.out_h(), ow = d.out_w(), chunks = d.c / V;
#pragma omp parallel
    {
        Padded padded;
#pragma omp for
        for (int job = 0; job < d.n * chunks; job++) {
            const int picture = job / chunks, channel = job % chunks * V;
            padded.fill(x + size_t(picture) * d.h * d.w * d.c + channel, d.h, d.w, d.c, d.before(), d.after());
            vec taps[K * K];
            for (int t = 0; t < K * K; t++) taps[t] = at(weight + t * d.c + channel);
            E* out = y + size_t(picture) * oh * ow * d.c + channel;
            constexpr int B = 4;
            for (int row = 0; row < oh; row++)
                for (int left = 0; left < ow; left += B) {
                    vec sum[B] = {};
                    const int count = std::min(B, ow - left);
                    auto add = [&](int pixels) {
                        for (int ky = 0; ky < K; ky++)
                            for (int kx = 0; kx < K; kx++)
                                for (int b = 0; b < pixels; b++)
                                    sum[b] += taps[ky * K + kx] * at(padded.pixel(row * S + ky, (left + b) * S + kx));
                    };
                    // A number that the compiler knows keeps the sums in registers.
                    count == B ? add(B) : add(count);
                    for (int b = 0; b < count; b++) store(out + (size_t(row) * ow + left + b) * d.c, sum[b]);
                }
        }
    }
}

// The gradient to the input, at the places whose row and column leave (PY, PX) when divided by the stride.
template <int K, int S, int PY, int PX, typename E>
void scatter(const Depthwise& d, Padded& padded, const vec* taps, E* out) {
    // An input row y was read by tap ky of output row (y + before - ky) / S; so ky runs over one class modulo S.
    const int fy = (PY + d.before()) % S, fx = (PX + d.before()) % S;
    constexpr int T = (K + S - 1) / S;
    for (int y = PY; y < d.h; y += S)
        for (int x = PX; x < d.w; x += S) {
            vec sum[2] = {};
            for (int ty = 0; ty < T; ty++)
                for (int tx = 0; tx < T; tx++) {
                    const int ky = fy + ty * S, kx = fx + tx * S;
                    if (ky >= K || kx >= K) continue;
                    const int oy = (y + d.before() - ky) / S, ox = (x + d.before() - kx) / S;
                    sum[tx & 1] += taps[ky * K + kx] * at(padded.pixel(oy + K - 1, ox + K - 1));
                }
            store(out + (size_t(y) * d.w + x) * d.c, sum[0] + sum[1]);
        }
}

template <int K, int S, typename E>
void backward(const Depthwise& d, const E* x, const float* weight, const E* gy, E* gx, float* gw) {
    const int oh = d.out_h(), ow = d.out_w(), chunks = d.c / V;
    std::vector<float> partial(size_t(omp_get_max_threads()) * K * K * d.c, 0.0f);
#pragma omp parallel
    {
        float* own = partial.data() + size_t(omp_get_thread_num()) * K * K * d.c;
        Padded padded;
#pragma omp for
        for (int job = 0; job < d.n * chunks; job++) {
            const int picture = job / chunks, channel = job % chunks * V;
            const E* g = gy + size_t(picture) * oh * ow * d.c + channel;
            padded.fill(x + size_t(picture) * d.h * d.w * d.c + channel, d.h, d.w, d.c, d.before(), d.after());
            vec sums[K * K] = {};
            for (int row = 0; row < oh; row++)
                for (int col = 0; col < ow; col++) {
                    const vec up = load(g + (size_t(row) * ow + col) * d.c);
                    for (int ky = 0; ky < K; ky++)
                        for (int kx = 0; kx < K; kx++)
                            sums[ky * K + kx] += up * at(padded.pixel(row * S + ky, col * S + kx));
                }
            vec taps[K * K];
            for (int t = 0; t < K * K; t++) {
                at(own + t * d.c + channel) += sums[t];
                taps[t] = at(weight + t * d.c + channel);
            }
            padded.fill(g, oh, ow, d.c, K - 1, K - 1);
            E* out = gx + size_t(picture) * d.h * d.w * d.c + channel;
            scatter<K, S, 0, 0>(d, padded, taps, out);
            if (S == 2) {
                scatter<K, S, 0, 1 % S>(d, padded, taps, out);
                scatter<K, S, 1 % S, 0>(d, padded, taps, out);
                scatter<K, S, 1 % S, 1 % S>(d, padded, taps, out);
            }
        }
    }
    std::fill(gw, gw + K * K * d.c, 0.0f);
    for (int t = 0; t < omp_get_max_threads(); t++)
        for (int i = 0; i < K * K * d.c; i++) gw[i] += partial[size_t(t) * K * K * d.c + i];
}

// Two sums over rows for each channel: float32 within a block of rows, float64 from block to block.
template <typename Row>
void sums(int64_t rows, int c, double* first, double* second, Row row) {
    constexpr int64_t BLOCK = 128;
    std::fill(first, first + c, 0.0);
    std::fill(second, second + c, 0.0);
#pragma omp parallel
    {
        std::vector<float> block(2 * c);
        std::vector<double> own(2 * c, 0.0);
#pragma omp for schedule(static)
        for (int64_t start = 0; start < rows; start += BLOCK) {
            std::fill(block.begin(), block.end(), 0.0f);
            for (int64_t r = start; r < std::min(rows, start + BLOCK); r++) row(r, block.data(), block.data() + c);
            for (int i = 0; i < 2 * c; i++) own[i] += block[i];
        }
#pragma omp critical
        for (int i = 0; i < c; i++) {
            first[i] += own[i];
            second[i] += own[c + i];
        }
    }
}

inline vec clamp6(vec v) {
    v = v > 0 ? v : vec{};
    return v < 6 ? v : vec{} + 6;
}

template <typename E>
void depthwise_forward(const Depthwise& d, const E* x, const float* weight, E* y) {
    if (d.k == 3 && d.s == 1) forward<3, 1>(d, x, weight, y);
    if (d.k == 3 && d.s == 2) forward<3, 2>(d, x, weight, y);
    if (d.k == 5 && d.s == 1) forward<5, 1>(d, x, weight, y);
    if (d.k == 5 && d.s == 2) forward<5, 2>(d, x, weight, y);
}

template <typename E>
void depthwise_backward(const Depthwise& d, const E* x, const float* weight, const E* gy, E* gx, float* gw) {
    if (d.k == 3 && d.s == 1) backward<3, 1>(d, x, weight, gy, gx, gw);
    if (d.k == 3 && d.s == 2) backward<3, 2>(d, x, weight, gy, gx, gw);
    if (d.k == 5 && d.s == 1) backward<5, 1>(d, x, weight, gy, gx, gw);
    if (d.k == 5 && d.s == 2) backward<5, 2>(d, x, weight, gy, gx, gw);
}

// y = clamp((x - mean) * rstd * gamma + beta); mean and variance of this batch come back in float32.
template <typename E>
void norm_forward(int64_t rows, int c, const E* x, const float* gamma, const float* beta, float eps, int relu6,
                  E* y, float* mean, float* variance) {
    std::vector<double> first(c), second(c);
    sums(rows, c, first.data(), second.data(), [&](int64_t r, float* a, float* b) {
        for (int i = 0; i < c; i += V) {
            const vec v = load(x + r * c + i);
            at(a + i) += v;
            at(b + i) += v * v;
        }
    });
    std::vector<float> scale(c), shift(c);
    for (int i = 0; i < c; i++) {
        const double m = first[i] / rows, var = std::max(0.0, second[i] / rows - m * m);
        mean[i] = m, variance[i] = var;
        scale[i] = gamma[i] / std::sqrt(var + eps);
        shift[i] = beta[i] - m * scale[i];
    }
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++)
        for (int i = 0; i < c; i += V) {
            vec v = load(x + r * c + i) * at(&scale[i]) + at(&shift[i]);
            if (relu6) v = clamp6(v);
            store(y + r * c + i, v);
        }
}

template <typename E>
void norm_backward(int64_t rows, int c, const E* x, const E* gy, const float* gamma, const float* beta, float eps,
                   int relu6, const float* mean, const float* variance, E* gx, float* ggamma, float* gbeta) {
    std::vector<float> rstd(c), scale(c), shift(c);
    for (int i = 0; i < c; i++) {
        rstd[i] = 1 / std::sqrt(variance[i] + eps);
        scale[i] = gamma[i] * rstd[i];
        shift[i] = beta[i] - mean[i] * scale[i];
    }
    // The gradient before the clamp: none where the clamp held the value.
    auto gradient = [&](int64_t r, int i, vec v) {
        vec g = load(gy + r * c + i);
        if (relu6) {
            const vec out = v * at(&scale[i]) + at(&shift[i]);
            g = out > 0 ? g : vec{};
            g = out < 6 ? g : vec{};
        }
        return g;
    };
    std::vector<double> first(c), second(c);
    sums(rows, c, first.data(), second.data(), [&](int64_t r, float* a, float* b) {
        for (int i = 0; i < c; i += V) {
            const vec v = load(x + r * c + i), g = gradient(r, i, v);
            at(a + i) += g;
            at(b + i) += g * (v - at(mean + i));
        }
    });
    // gx = scale * (g - mean(g) - xhat * mean(g * xhat)) = scale * g + slope * x + constant.
    std::vector<float> slope(c), constant(c);
    for (int i = 0; i < c; i++) {
        gbeta[i] = first[i];
        ggamma[i] = second[i] * rstd[i];
        slope[i] = -scale[i] * rstd[i] * ggamma[i] / rows;
        constant[i] = -scale[i] * first[i] / rows - slope[i] * mean[i];
    }
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++)
        for (int i = 0; i < c; i += V) {
            const vec v = load(x + r * c + i), g = gradient(r, i, v);
            store(gx + r * c + i, at(&scale[i]) * g + at(&slope[i]) * v + at(&constant[i]));
        }
}

}  // namespace

// weight, gw: [k, k, c] float32.
#define EXPORT(NAME, E)                                                                                              \
    void depthwise_forward_##NAME(int n, int h, int w, int c, int k, int s, const E* x, const float* weight, E* y) { \
        depthwise_forward(Depthwise{n, h, w, c, k, s}, x, weight, y);                                                \
    }                                                                                                                \
    void depthwise_backward_##NAME(int n, int h, int w, int c, int k, int s, const E* x, const float* weight,        \
                                   const E* gy, E* gx, float* gw) {                                                  \
        depthwise_backward(Depthwise{n, h, w, c, k, s}, x, weight, gy, gx, gw);                                      \
    }                                                                                                                \
    void norm_forward_##NAME(int64_t rows, int c, const E* x, const float* gamma, const float* beta, float eps,      \
                             int relu6, E* y, float* mean, float* variance) {                                        \
        norm_forward(rows, c, x, gamma, beta, eps, relu6, y, mean, variance);                                        \
    }                                                                                                                \
    void norm_backward_##NAME(int64_t rows, int c, const E* x, const E* gy, const float* gamma, const float* beta,   \
                              float eps, int relu6, const float* mean, const float* variance, E* gx, float* ggamma,  \
                              float* gbeta) {                                                                        \
        norm_backward(rows, c, x, gy, gamma, beta, eps, relu6, mean, variance, gx, ggamma, gbeta);                   \
    }

extern "C" {
EXPORT(bfloat16, bf16)
EXPORT(float32, float)
}
