/* libnvidia-ml.so.1 as a machine would have it, so that the real binding (pynvml) is exercised.
 *
 * The file that NVML_STUB names is the scenario: one answer a line, "<gpu or *> <what> <answer>", the last fitting line
 * counts and one for the GPU goes before one for all. What no line answers is NOT_SUPPORTED. An answer is numbers or
 * text, "error 15" (that return code), or "hang" (never returns, and the process ignores SIGTERM). Lines for "machine"
 * answer what is asked of no GPU: init, count, driver, cuda. "<gpu> vanish 40": after 40 questions the card is lost.
 * "<gpu> slow 50": every question takes 50 ms. "<gpu> crash 1": the first question ends the process.
 *
 * Signatures and codes: nvml.h (nvidia-nvml-dev 12.9.79). What is not defined here is FUNCTION_NOT_FOUND to the binding.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OK = 0, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7, LOST = 15 };
enum { GPUS = 64, MIGS = 8, LINES = 8192 };
typedef unsigned long long u64;
typedef unsigned u32;
typedef struct { int gpu, mig; } Device;
typedef struct { int gpu; char what[48]; char answer[160]; } Line;

static Line *lines;
static int line_count;
static long asked[GPUS];
static Device devices[GPUS], migs[GPUS][MIGS];

static void load(void) {
    const char *path = getenv("NVML_STUB");
    FILE *file = path ? fopen(path, "r") : NULL;
    char row[256], who[16];
    if (lines || !file) return;
    lines = calloc(LINES, sizeof *lines);
    while (line_count < LINES && fgets(row, sizeof row, file)) {
        Line *line = &lines[line_count];
        row[strcspn(row, "\n")] = 0;
        if (sscanf(row, "%15s %47s %159[^\n]", who, line->what, line->answer) < 2) continue;
        line->gpu = !strcmp(who, "machine") ? -2 : !strcmp(who, "*") ? -1 : atoi(who);
        line_count++;
    }
    fclose(file);
}
static const char *find(int gpu, const char *what) {
    const char *found = NULL;
    int exact = 0;
    load();
    for (int i = 0; i < line_count; i++) {
        int own = lines[i].gpu == gpu;
        if (strcmp(lines[i].what, what) || (!own && !(gpu >= 0 && lines[i].gpu == -1)) || (exact && !own)) continue;
        found = lines[i].answer;
        exact = own;
    }
    return found;
}
static int ask(int gpu, const char *what, const char **answer) {
    const char *special, *found;
    if (gpu >= 0) {
        asked[gpu]++;
        if ((special = find(gpu, "crash")) && asked[gpu] >= atol(special)) abort();
        if ((special = find(gpu, "slow"))) usleep(1000 * atoi(special));
        if ((special = find(gpu, "vanish")) && asked[gpu] > atol(special)) return LOST;
    }
    if (!(found = find(gpu, what))) return NOT_SUPPORTED;
    if (!strcmp(found, "hang")) {
        signal(SIGTERM, SIG_IGN);
        for (;;) pause();
    }
    if (!strncmp(found, "error ", 6)) return atoi(found + 6);
    *answer = found;
    return OK;
}
static int numbers(int gpu, const char *what, u64 *to, int count) {
    const char *answer;
    char *end;
    int code = ask(gpu, what, &answer);
    if (code) return code;
    for (int i = 0; i < count; i++, answer = end) to[i] = strtoull(answer, &end, 0);
    return OK;
}
static int number(void *device, const char *what, u32 *to) {
    u64 value;
    int code = numbers(((Device *)device)->gpu, what, &value, 1);
    if (!code) *to = (u32)value;
    return code;
}
static int indexed(void *device, const char *what, u32 index, u32 *to) {
    char name[48];
    snprintf(name, sizeof name, "%s.%u", what, index);
    return number(device, name, to);
}
static int text(int gpu, const char *what, char *to, u32 size) {
    const char *answer;
    int code = ask(gpu, what, &answer);
    if (!code) snprintf(to, size, "%s", answer);
    return code;
}
static int gpu_of(void *device) { return ((Device *)device)->gpu; }

int nvmlInitWithFlags(u32 flags) {
    const char *answer;
    int code = ask(-2, "init", &answer);
    (void)flags;
    return code == NOT_SUPPORTED ? OK : code;
}
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int code) { (void)code; return "an NVML error"; }
int nvmlSystemGetDriverVersion(char *to, u32 size) { return text(-2, "driver", to, size); }
int nvmlSystemGetCudaDriverVersion_v2(int *to) {
    u64 value;
    int code = numbers(-2, "cuda", &value, 1);
    if (!code) *to = (int)value;
    return code;
}
int nvmlDeviceGetCount_v2(u32 *to) {
    u64 value = 0;
    int code = numbers(-2, "count", &value, 1);
    *to = (u32)value;
    return code;
}
int nvmlDeviceGetHandleByIndex_v2(u32 index, void **to) {
    const char *answer;
    int code = index < GPUS ? ask((int)index, "handle", &answer) : INVALID;
    if (code && code != NOT_SUPPORTED) return code;
    devices[index] = (Device){(int)index, -1};
    *to = &devices[index];
    return OK;
}
int nvmlDeviceGetName(void *d, char *to, u32 size) { return text(gpu_of(d), "name", to, size); }
int nvmlDeviceGetUUID(void *d, char *to, u32 size) { return text(gpu_of(d), "uuid", to, size); }
int nvmlDeviceGetVbiosVersion(void *d, char *to, u32 size) { return text(gpu_of(d), "vbios", to, size); }
int nvmlDeviceGetInforomImageVersion(void *d, char *to, u32 size) { return text(gpu_of(d), "inforom", to, size); }
int nvmlDeviceGetGspFirmwareVersion(void *d, char *to) { return text(gpu_of(d), "gsp", to, 64); }

typedef struct {
    char bus_id_legacy[16];
    u32 domain, bus, device, pci_device_id, pci_subsystem_id;
    char bus_id[32];
} Pci;
int nvmlDeviceGetPciInfo_v3(void *d, Pci *to) {
    memset(to, 0, sizeof *to);
    return text(gpu_of(d), "bus_id", to->bus_id, sizeof to->bus_id);
}
int nvmlDeviceGetMemoryInfo(void *d, u64 *to) { /* total, free, used */
    u64 value[2];
    int code = numbers(gpu_of(d), "memory", value, 2);
    if (code) return code;
    to[0] = value[0], to[1] = value[1], to[2] = value[0] - value[1];
    return OK;
}
typedef struct { u32 version; u64 total, reserved, free, used; } Memory2;
int nvmlDeviceGetMemoryInfo_v2(void *d, Memory2 *to) {
    u64 value[3];
    int code = numbers(gpu_of(d), "memory2", value, 3); /* total, reserved, used */
    if (code) return code;
    to->total = value[0], to->reserved = value[1], to->used = value[2], to->free = value[0] - value[1] - value[2];
    return OK;
}
int nvmlDeviceGetBAR1MemoryInfo(void *d, u64 *to) { return numbers(gpu_of(d), "bar1", to, 3); }
int nvmlDeviceGetCudaComputeCapability(void *d, int *major, int *minor) {
    u64 value[2];
    int code = numbers(gpu_of(d), "capability", value, 2);
    if (!code) *major = (int)value[0], *minor = (int)value[1];
    return code;
}
static int two(void *d, const char *what, u32 *one, u32 *other) {
    u64 value[2];
    int code = numbers(gpu_of(d), what, value, 2);
    if (!code) *one = (u32)value[0], *other = (u32)value[1];
    return code;
}
int nvmlDeviceGetCurrPcieLinkWidth(void *d, u32 *to) { return number(d, "width", to); }
int nvmlDeviceGetMaxPcieLinkWidth(void *d, u32 *to) { return number(d, "width_max", to); }
int nvmlDeviceGetCurrPcieLinkGeneration(void *d, u32 *to) { return number(d, "generation", to); }
int nvmlDeviceGetMaxPcieLinkGeneration(void *d, u32 *to) { return number(d, "generation_max", to); }
int nvmlDeviceGetPcieReplayCounter(void *d, u32 *to) { return number(d, "replays", to); }
int nvmlDeviceGetMigMode(void *d, u32 *current, u32 *pending) { return two(d, "mig", current, pending); }
int nvmlDeviceGetPersistenceMode(void *d, u32 *to) { return number(d, "persistence", to); }
int nvmlDeviceGetComputeMode(void *d, u32 *to) { return number(d, "compute_mode", to); }
int nvmlDeviceGetVirtualizationMode(void *d, u32 *to) { return number(d, "virtualization", to); }
int nvmlDeviceGetEccMode(void *d, u32 *current, u32 *pending) { return two(d, "ecc", current, pending); }
int nvmlDeviceGetTotalEccErrors(void *d, u32 kind, u32 counter, u64 *to) {
    return numbers(gpu_of(d), kind ? counter ? "uncorrected_ever" : "uncorrected" : counter ? "corrected_ever" : "corrected", to, 1);
}
int nvmlDeviceGetRemappedRows(void *d, u32 *corrected, u32 *uncorrected, u32 *pending, u32 *failed) {
    u64 value[4];
    int code = numbers(gpu_of(d), "rows", value, 4);
    if (!code) *corrected = (u32)value[0], *uncorrected = (u32)value[1], *pending = (u32)value[2], *failed = (u32)value[3];
    return code;
}
int nvmlDeviceGetRowRemapperHistogram(void *d, u32 *to) { /* max, high, partial, low, none */
    u64 value[5];
    int code = numbers(gpu_of(d), "banks", value, 5);
    for (int i = 0; !code && i < 5; i++) to[i] = (u32)value[i];
    return code;
}
typedef struct { u32 version; u64 counts[11]; u32 exceeded; } Sram;
int nvmlDeviceGetSramEccErrorStatus(void *d, Sram *to) { return number(d, "sram_exceeded", &to->exceeded); }
int nvmlDeviceGetRetiredPages(void *d, u32 cause, u32 *count, u64 *pages) {
    u32 there;
    int code = indexed(d, "retired", cause, &there);
    if (code) return code;
    if (*count < there || !pages) return *count = there, there ? TOO_SMALL : OK;
    for (u32 i = 0; i < there; i++) pages[i] = 0x1000 * (i + 1);
    *count = there;
    return OK;
}
int nvmlDeviceGetRetiredPagesPendingStatus(void *d, u32 *to) { return number(d, "retired_pending", to); }
int nvmlDeviceValidateInforom(void *d) {
    u32 ignored;
    return number(d, "inforom_check", &ignored);
}
int nvmlDeviceGetCurrentClocksEventReasons(void *d, u64 *to) { return numbers(gpu_of(d), "reasons", to, 1); }
int nvmlDeviceGetClockInfo(void *d, u32 type, u32 *to) { return indexed(d, "clock", type, to); }
int nvmlDeviceGetMaxClockInfo(void *d, u32 type, u32 *to) { return indexed(d, "clock_max", type, to); }
int nvmlDeviceGetTemperature(void *d, u32 sensor, u32 *to) { (void)sensor; return number(d, "celsius", to); }
int nvmlDeviceGetTemperatureThreshold(void *d, u32 which, u32 *to) { return indexed(d, "threshold", which, to); }
int nvmlDeviceGetPowerUsage(void *d, u32 *to) { return number(d, "power", to); }
int nvmlDeviceGetEnforcedPowerLimit(void *d, u32 *to) { return number(d, "power_limit", to); }
int nvmlDeviceGetPowerManagementDefaultLimit(void *d, u32 *to) { return number(d, "power_default", to); }
typedef struct { u32 field, scope; long long time, latency; u32 type, code; union { double d; u32 u; u64 l; } value; } Field;
int nvmlDeviceGetFieldValues(void *d, int count, Field *to) {
    for (int i = 0; i < count; i++) to[i].code = (u32)indexed(d, "field", to[i].field, &to[i].value.u);
    return OK;
}
typedef struct { u32 pid; u64 used; u32 gpu_instance, compute_instance; } Process;
static int processes(void *d, const char *what, u32 *count, Process *to) {
    const char *answer = "";
    char *end;
    u32 there = 0;
    int code = ask(gpu_of(d), what, &answer);
    if (code && code != NOT_SUPPORTED) return code;
    for (const char *c = answer; *c; c = end, there++) {
        u32 pid = (u32)strtoul(c, &end, 0);
        u64 used = strtoull(end, &end, 0);
        if (to && there < *count) to[there] = (Process){pid, used, ~0u, ~0u};
    }
    code = there > *count ? TOO_SMALL : OK;
    *count = there;
    return code;
}
int nvmlDeviceGetComputeRunningProcesses_v3(void *d, u32 *count, Process *to) { return processes(d, "compute", count, to); }
int nvmlDeviceGetGraphicsRunningProcesses_v3(void *d, u32 *count, Process *to) { return processes(d, "graphics", count, to); }
typedef struct { u32 code, state; char info[128], product[128]; u32 enabled, year; unsigned short month, day, hour, min, sec; unsigned char status; } Feature;
typedef struct { int supported; u32 count; Feature features[3]; } Licences;
int nvmlDeviceGetGridLicensableFeatures_v4(void *d, Licences *to) {
    memset(to, 0, sizeof *to);
    to->supported = 1, to->count = 1;
    return number(d, "licensed", &to->features[0].state);
}
int nvmlDeviceGetMaxMigDeviceCount(void *d, u32 *to) { return number(d, "mig_max", to); }
int nvmlDeviceGetMigDeviceHandleByIndex(void *d, u32 index, void **to) {
    u32 ignored;
    int code = index < MIGS ? indexed(d, "mig", index, &ignored) : INVALID;
    if (code) return code == NOT_SUPPORTED ? NOT_FOUND : code;
    migs[gpu_of(d)][index] = (Device){gpu_of(d), (int)index};
    *to = &migs[gpu_of(d)][index];
    return OK;
}
typedef struct { u32 counts[6], gpu_slices, compute_slices; u64 memory_mb; } Attributes;
int nvmlDeviceGetAttributes_v2(void *d, Attributes *to) {
    u64 value[2];
    char name[48];
    snprintf(name, sizeof name, "mig.%d", ((Device *)d)->mig);
    int code = numbers(gpu_of(d), name, value, 2); /* slices, MiB */
    if (!code) to->gpu_slices = (u32)value[0], to->memory_mb = value[1];
    return code;
}
int nvmlDeviceGetNvLinkState(void *d, u32 link, u32 *to) { return indexed(d, "link", link, to); }
int nvmlDeviceGetNvLinkVersion(void *d, u32 link, u32 *to) { (void)link; return number(d, "link_version", to); }
int nvmlDeviceGetNvLinkRemoteDeviceType(void *d, u32 link, u32 *to) { (void)link; return number(d, "link_end", to); }
int nvmlDeviceGetNvLinkRemotePciInfo_v2(void *d, u32 link, Pci *to) {
    char name[48];
    memset(to, 0, sizeof *to);
    snprintf(name, sizeof name, "link_bus_id.%u", link);
    return text(gpu_of(d), name, to->bus_id, sizeof to->bus_id);
}
int nvmlDeviceGetNvLinkErrorCounter(void *d, u32 link, u32 counter, u64 *to) {
    char name[48];
    snprintf(name, sizeof name, "link_errors.%u.%u", link, counter);
    return numbers(gpu_of(d), name, to, 1);
}
typedef struct { u32 version; unsigned char uuid[16]; u32 status, clique, state, health; } Fabric;
int nvmlDeviceGetGpuFabricInfoV(void *d, Fabric *to) {
    u64 value[3];
    int code = numbers(gpu_of(d), "fabric", value, 3); /* state, status, health mask */
    if (!code) to->state = (u32)value[0], to->status = (u32)value[1], to->health = (u32)value[2];
    return code;
}
int nvmlDeviceGetTopologyCommonAncestor(void *a, void *b, u32 *to) { return indexed(a, "topology", (u32)gpu_of(b), to); }
int nvmlDeviceGetP2PStatus(void *a, void *b, u32 index, u32 *to) {
    (void)index;
    return indexed(a, "p2p", (u32)gpu_of(b), to);
}
int nvmlSystemGetConfComputeState(u32 *to) { /* environment, feature, developer tools */
    u64 value[3];
    int code = numbers(-2, "confidential", value, 3);
    for (int i = 0; !code && i < 3; i++) to[i] = (u32)value[i];
    return code;
}
int nvmlSystemGetConfComputeGpusReadyState(u32 *to) {
    u64 value;
    int code = numbers(-2, "confidential_ready", &value, 1);
    if (!code) *to = (u32)value;
    return code;
}
