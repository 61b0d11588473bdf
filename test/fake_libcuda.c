// A libcuda that has one GPU and does nothing but remember launches; see fake_libcuda.py.
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef uintptr_t handle;

struct launch {
    handle function, stream;
    unsigned grid[3], block[3], shared;
    uint64_t first;  // first argument, as 8 bytes
};

struct launch launches[1024];
int launched, fail_with, attribute_value, destroyed;
size_t memset_size;
char image[64];

int cuInit(unsigned flags) { return fail_with; }
int cuDeviceGetCount(int *count) { *count = 1; return fail_with; }
int cuCtxGetCurrent(handle *context) { *context = 0x7f0000000001; return fail_with; }
int cuCtxGetDevice(int *device) { *device = 0; return fail_with; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    *value = attribute == 75 ? 8 : attribute == 76 ? 7 : -1;
    return fail_with;
}
int cuModuleLoadData(handle *module, const char *data) {
    strncpy(image, data, sizeof image - 1);
    *module = 0x7f0000000002;
    return fail_with;
}
int cuModuleGetFunction(handle *function, handle module, const char *name) {
    *function = module == 0x7f0000000002 && strcmp(name, "missing") ? 0x7f0000000003 : 0;
    return *function ? fail_with : 500;
}
int cuFuncSetAttribute(handle function, int attribute, int value) {
    if (attribute == 8) attribute_value = value;
    return fail_with;
}
int cuLaunchKernel(handle function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                   unsigned bz, unsigned shared, handle stream, void **arguments, void **extra) {
    struct launch *l = &launches[launched++ % 1024];
    *l = (struct launch){function, stream, {gx, gy, gz}, {bx, by, bz}, shared, 0};
    if (extra) return 1;
    l->first = *(uint64_t *)arguments[0];
    return fail_with;
}
int cuMemsetD8Async(handle address, unsigned char value, size_t size, handle stream) {
    memset_size = size;
    return fail_with;
}
int cuStreamBeginCapture_v2(handle stream, int mode) { return fail_with; }
int cuStreamEndCapture(handle stream, handle *graph) { *graph = 5; return fail_with; }
int cuGraphInstantiateWithFlags(handle *executable, handle graph, unsigned long long flags) {
    *executable = graph == 5 ? 0x7f0000000006 : 0;
    return fail_with;
}
int cuGraphDestroy(handle graph) { destroyed++; return fail_with; }
int cuGraphExecDestroy(handle executable) { destroyed++; return fail_with; }
int cuGraphLaunch(handle executable, handle stream) {
    launched++;
    return executable == 0x7f0000000006 ? fail_with : 400;
}
int cuGetErrorName(int code, const char **name) {
    *name = code == 2 ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR_OTHER";
    return 0;
}
