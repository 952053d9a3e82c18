/* libnvidia-ml.so.1 as a machine would have it, chosen by NVML_STUB, so that the real binding (pynvml) is exercised.
 *
 *   h100 rtx4090 gb10      one healthy GPU of that kind
 *   h100-lost              two, the second of which has fallen off the bus
 *   not-loaded mismatch permission unknown    nvmlInit fails with that code
 *   hang                   nvmlInit never returns and the process ignores SIGTERM, as behind a hung driver
 *
 * Signatures and codes: nvml.h (nvidia-nvml-dev 12.9.79). What is not defined here is FUNCTION_NOT_FOUND to the binding.
 * The healthy figures are what nvidia-smi prints for these cards; the UUIDs are made up.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OK = 0, NOT_SUPPORTED = 3, NO_PERMISSION = 4, DRIVER_NOT_LOADED = 9, GPU_IS_LOST = 15, MISMATCH = 18, UNKNOWN = 999 };
typedef struct { unsigned long long total, free, used; } Memory;
typedef struct {
    char bus_id_legacy[16];
    unsigned domain, bus, device, pci_device_id, pci_subsystem_id;
    char bus_id[32];
} Pci;
typedef struct {
    const char *kind, *name, *uuid, *bus_id, *driver;
    int cuda, major, minor, width, generation, mig, persistence;
    unsigned long long total, free;
} Card;

static const Card cards[] = {
    {"h100", "NVIDIA H100 80GB HBM3", "GPU-00000000-0000-4000-8000-000000000001", "00000000:19:00.0", "580.82.07",
     13000, 9, 0, 16, 5, 0, 1, 85520809984ULL, 84930330624ULL},
    {"rtx4090", "NVIDIA GeForce RTX 4090", "GPU-00000000-0000-4000-8000-000000000002", "00000000:01:00.0", "580.82.07",
     13000, 8, 9, 16, 4, -1, 0, 25757220864ULL, 25249710080ULL},
    {"gb10", "NVIDIA GB10", "GPU-00000000-0000-4000-8000-000000000003", "0000000F:01:00.0", "580.82.07",
     13000, 12, 1, 1, 5, -1, 0, 0, 0},
};

static const char *mode(void) { const char *m = getenv("NVML_STUB"); return m ? m : "h100"; }
static const Card *card(void) {
    for (unsigned i = 0; i < sizeof cards / sizeof *cards; i++)
        if (!strncmp(mode(), cards[i].kind, strlen(cards[i].kind))) return &cards[i];
    return cards;
}
static int put(char *to, unsigned size, const char *text) { strncpy(to, text, size); return OK; }

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    if (!strcmp(mode(), "not-loaded")) return DRIVER_NOT_LOADED;
    if (!strcmp(mode(), "mismatch")) return MISMATCH;
    if (!strcmp(mode(), "permission")) return NO_PERMISSION;
    if (!strcmp(mode(), "unknown")) return UNKNOWN;
    if (!strcmp(mode(), "hang")) {
        signal(SIGTERM, SIG_IGN);
        for (;;) pause();
    }
    return OK;
}
const char *nvmlErrorString(int code) { (void)code; return "an NVML error"; }
int nvmlSystemGetDriverVersion(char *to, unsigned size) { return put(to, size, card()->driver); }
int nvmlSystemGetCudaDriverVersion_v2(int *to) { *to = card()->cuda; return OK; }
int nvmlDeviceGetCount_v2(unsigned *to) { *to = strstr(mode(), "-lost") ? 2 : 1; return OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **to) {
    if (index == 1) return GPU_IS_LOST;
    *to = (void *)card();
    return OK;
}
int nvmlDeviceGetName(void *d, char *to, unsigned size) { return put(to, size, ((Card *)d)->name); }
int nvmlDeviceGetUUID(void *d, char *to, unsigned size) { return put(to, size, ((Card *)d)->uuid); }
int nvmlDeviceGetPciInfo_v3(void *d, Pci *to) {
    memset(to, 0, sizeof *to);
    return put(to->bus_id, sizeof to->bus_id, ((Card *)d)->bus_id);
}
int nvmlDeviceGetMemoryInfo(void *d, Memory *to) {
    if (!((Card *)d)->total) return NOT_SUPPORTED; /* unified memory */
    to->total = ((Card *)d)->total;
    to->free = ((Card *)d)->free;
    to->used = to->total - to->free;
    return OK;
}
int nvmlDeviceGetCudaComputeCapability(void *d, int *major, int *minor) {
    *major = ((Card *)d)->major;
    *minor = ((Card *)d)->minor;
    return OK;
}
int nvmlDeviceGetCurrPcieLinkWidth(void *d, unsigned *to) { *to = ((Card *)d)->width; return OK; }
int nvmlDeviceGetMaxPcieLinkWidth(void *d, unsigned *to) { *to = ((Card *)d)->width; return OK; }
int nvmlDeviceGetCurrPcieLinkGeneration(void *d, unsigned *to) { *to = ((Card *)d)->generation; return OK; }
int nvmlDeviceGetMaxPcieLinkGeneration(void *d, unsigned *to) { *to = ((Card *)d)->generation; return OK; }
int nvmlDeviceGetMigMode(void *d, unsigned *current, unsigned *pending) {
    if (((Card *)d)->mig < 0) return NOT_SUPPORTED;
    *current = ((Card *)d)->mig;
    *pending = strstr(mode(), "-mig") ? 1 : *current;
    return OK;
}
int nvmlDeviceGetPersistenceMode(void *d, unsigned *to) { *to = ((Card *)d)->persistence; return OK; }
int nvmlDeviceGetComputeRunningProcesses_v3(void *d, unsigned *count, void *to) {
    (void)d; (void)to;
    *count = 0;
    return OK;
}
