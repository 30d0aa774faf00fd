/* libcuda.so.1 without a GPU: the functions that our driver class reaches through the real pycuda, with CUDA's rules.
   Memory is the host's. A call without a current context fails; at unload, what is left over is reported and aborts. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int R;
typedef unsigned long long P;
enum { OK = 0, INVALID_VALUE = 1, NOT_INITIALIZED = 3, INVALID_CONTEXT = 201, NOT_READY = 600 };

static int initialised, retained, memory, pinned, streams, events;
static __thread int current;
static double now_ms;

#define NEED_CONTEXT if (!current || !retained) return INVALID_CONTEXT

R cuInit(unsigned f) { initialised = 1; return OK; }
R cuDriverGetVersion(int *v) { *v = 12060; return OK; }
R cuGetErrorString(R e, const char **s) { *s = e == INVALID_CONTEXT ? "invalid device context" : "error"; return OK; }
R cuGetErrorName(R e, const char **s) { *s = "CUDA_ERROR"; return OK; }
R cuDeviceGetCount(int *n) { *n = 1; return initialised ? OK : NOT_INITIALIZED; }
R cuDeviceGet(int *d, int i) { *d = i; return initialised ? OK : NOT_INITIALIZED; }
R cuDeviceGetName(char *s, int n, int d) { snprintf(s, n, "Stub Orin"); return OK; }
R cuDeviceComputeCapability(int *a, int *b, int d) { *a = 8; *b = 7; return OK; }
R cuDeviceGetAttribute(int *v, int a, int d) {
    *v = a == 75 ? 8 : a == 76 ? 7 : 1; /* 18 integrated, 19 can map host memory */
    return OK;
}
R cuDevicePrimaryCtxRetain(void **c, int d) { retained++; *c = &retained; return OK; }
R cuDevicePrimaryCtxRelease_v2(int d) {
    if (retained == 1 && (memory || pinned || streams || events)) {
        fprintf(stderr, "context released with %d %d %d %d left\n", memory, pinned, streams, events);
        abort();
    }
    return retained-- > 0 ? OK : INVALID_CONTEXT;
}
R cuDevicePrimaryCtxRelease(int d) { return cuDevicePrimaryCtxRelease_v2(d); }
R cuCtxPushCurrent_v2(void *c) { current++; return OK; }
R cuCtxPopCurrent_v2(void **c) { if (!current) return INVALID_CONTEXT; current--; *c = &retained; return OK; }
R cuCtxGetCurrent(void **c) { *c = current ? &retained : 0; return OK; }
R cuCtxGetDevice(int *d) { NEED_CONTEXT; *d = 0; return OK; }
R cuMemGetInfo_v2(size_t *f, size_t *t) { NEED_CONTEXT; *f = 6ull << 30; *t = 8ull << 30; return OK; }
R cuMemAlloc_v2(P *p, size_t n) { NEED_CONTEXT; *p = (P)(uintptr_t)aligned_alloc(256, (n + 255) & ~255ull); memory++; return OK; }
R cuMemFree_v2(P p) { NEED_CONTEXT; free((void *)(uintptr_t)p); memory--; return OK; }
R cuMemHostAlloc(void **p, size_t n, unsigned f) { NEED_CONTEXT; *p = aligned_alloc(4096, (n + 4095) & ~4095ull); pinned++; return OK; }
R cuMemFreeHost(void *p) { NEED_CONTEXT; free(p); pinned--; return OK; }
R cuMemHostGetDevicePointer_v2(P *d, void *p, unsigned f) { NEED_CONTEXT; *d = (P)(uintptr_t)p; return OK; }
R cuStreamCreate(void **s, unsigned f) { NEED_CONTEXT; *s = malloc(8); streams++; return OK; }
R cuStreamDestroy_v2(void *s) { NEED_CONTEXT; free(s); streams--; return OK; }
R cuStreamSynchronize(void *s) { NEED_CONTEXT; return OK; }
R cuEventCreate(void **e, unsigned f) { NEED_CONTEXT; *e = calloc(1, sizeof(double)); events++; return OK; }
R cuEventDestroy_v2(void *e) { NEED_CONTEXT; free(e); events--; return OK; }
R cuEventRecord(void *e, void *s) { NEED_CONTEXT; now_ms += 0.5; *(double *)e = now_ms; return OK; }
R cuEventElapsedTime(float *ms, void *a, void *b) { NEED_CONTEXT; *ms = (float)(*(double *)b - *(double *)a); return OK; }
R cuEventElapsedTime_v2(float *ms, void *a, void *b) { return cuEventElapsedTime(ms, a, b); }
R cuMemcpyHtoDAsync_v2(P d, const void *s, size_t n, void *q) { NEED_CONTEXT; memcpy((void *)(uintptr_t)d, s, n); return OK; }
R cuMemcpyDtoHAsync_v2(void *d, P s, size_t n, void *q) { NEED_CONTEXT; memcpy(d, (void *)(uintptr_t)s, n); return OK; }
