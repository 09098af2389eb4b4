/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/cuda_emulator/emulator_work.cpp - streams, events and captured graphs.
 *
 * All streams share one queue in the order of submission, which every dependency allows; events are
 * places in it. It is run at once, or, when late, as far as somebody waits. A stream being captured
 * puts its work into the graph instead. Thread: one at a time. */
#include <chrono>
#include <deque>
#include <memory>
#include <set>
#include <vector>

#include "emulator.h"

typedef std::chrono::steady_clock::time_point instant;

struct CUgraph_st {
    std::vector<emulator_work> nodes;
    enum cudaStreamCaptureMode mode;
    bool spoiled;
    cudaStream_t origin;
    std::set<cudaStream_t> streams;
};

struct CUgraphExec_st {
    std::shared_ptr<const std::vector<emulator_work>> nodes; /* Kept by launches under way. */
};

struct CUstream_st {
    uint64_t last;      /* Of its work in the queue. */
    cudaGraph_t graph;  /* Being captured into; NULL: none. */
    bool joined;        /* A branch of a capture whose end the origin waits for. */
};

struct CUevent_st {
    unsigned int flags;
    bool recorded;
    uint64_t place;             /* Of its record in the queue. */
    std::shared_ptr<instant> at; /* When that ran. */
    cudaGraph_t graph;          /* Recorded last in this capture; NULL: outside. */
    cudaStream_t stream;
};

static struct CUstream_st default_stream;
static std::set<cudaStream_t> streams;
static std::set<cudaGraph_t> captures; /* Under way. */
static std::deque<emulator_work> queue;
static uint64_t submitted, executed; /* Pieces of work so far. */

static cudaStream_t checked(cudaStream_t stream)
{
    if (stream == NULL) {
        return &default_stream;
    }
    if (streams.count(stream) == 0) {
        emulator_die("%p is not a stream", static_cast<void *>(stream));
    }
    return stream;
}

/* ---- The queue --------------------------------------------------------------------------- */

static void run_until(uint64_t place)
{
    while (executed < place) {
        const emulator_work work = queue.front();
        queue.pop_front();
        executed++;
        if (emulator_final_error() == cudaSuccess) {
            work();
        }
    }
}

void emulator_drain(void)
{
    run_until(submitted);
}

static void enqueue(cudaStream_t stream, emulator_work work)
{
    queue.push_back(std::move(work));
    stream->last = ++submitted;
    if (!emulator_is_late()) {
        run_until(submitted);
    }
}

cudaError_t emulator_submit(cudaStream_t given, emulator_work work)
{
    const cudaStream_t stream = checked(given);
    if (emulator_final_error() != cudaSuccess) {
        return emulator_result(emulator_final_error());
    }
    if (stream->graph != NULL) {
        if (stream->graph->spoiled) {
            return emulator_result(cudaErrorStreamCaptureInvalidated);
        }
        stream->joined = false;
        stream->graph->nodes.push_back(std::move(work));
        return cudaSuccess;
    }
    if (stream == &default_stream && emulator_spoils_capture()) {
        return emulator_result(cudaErrorStreamCaptureImplicit);
    }
    enqueue(stream, std::move(work));
    return cudaSuccess; /* A kernel's error comes to light in a later call. */
}

bool emulator_spoils_capture(void)
{
    bool spoils = false;
    for (cudaGraph_t graph : captures) {
        if (graph->mode != cudaStreamCaptureModeRelaxed) {
            graph->spoiled = true;
            spoils = true;
        }
    }
    return spoils;
}

/* ---- Streams ----------------------------------------------------------------------------- */

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned int)
{
    if (emulator_final_error() != cudaSuccess) {
        return emulator_result(emulator_final_error());
    }
    *stream = new CUstream_st();
    streams.insert(*stream);
    return emulator_result(cudaSuccess);
}

cudaError_t cudaStreamCreate(cudaStream_t *stream)
{
    return cudaStreamCreateWithFlags(stream, cudaStreamDefault);
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned int flags, int)
{
    return cudaStreamCreateWithFlags(stream, flags);
}

cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest)
{
    *least = 0;
    *greatest = -5;
    return emulator_result(cudaSuccess);
}

cudaError_t cudaStreamDestroy(cudaStream_t given)
{
    const cudaStream_t stream = checked(given);
    if (stream == &default_stream || stream->graph != NULL) {
        return emulator_result(cudaErrorInvalidResourceHandle);
    }
    run_until(stream->last);
    streams.erase(stream);
    delete stream;
    return emulator_result(cudaSuccess);
}

cudaError_t cudaStreamSynchronize(cudaStream_t given)
{
    const cudaStream_t stream = checked(given);
    if (stream->graph != NULL) {
        stream->graph->spoiled = true;
        return emulator_result(cudaErrorStreamCaptureUnsupported);
    }
    run_until(stream->last);
    return emulator_result(cudaSuccess);
}

cudaError_t cudaStreamQuery(cudaStream_t given)
{
    const cudaStream_t stream = checked(given);
    if (stream->graph != NULL) {
        stream->graph->spoiled = true;
        return emulator_result(cudaErrorStreamCaptureUnsupported);
    }
    const bool was_done = executed >= stream->last;
    run_until(stream->last); /* By the next question. */
    return emulator_result(was_done ? cudaSuccess : cudaErrorNotReady);
}

cudaError_t cudaDeviceSynchronize(void)
{
    if (!captures.empty()) {
        emulator_spoils_capture();
        return emulator_result(cudaErrorStreamCaptureUnsupported);
    }
    emulator_drain();
    return emulator_result(cudaSuccess);
}

cudaError_t cudaDeviceReset(void)
{
    emulator_die("cudaDeviceReset: not emulated");
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void *context)
{
    return emulator_submit(stream, [=]() { function(context); });
}

/* ---- Events ------------------------------------------------------------------------------ */

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned int flags)
{
    if (emulator_final_error() != cudaSuccess) {
        return emulator_result(emulator_final_error());
    }
    *event = new CUevent_st();
    (*event)->flags = flags;
    return emulator_result(cudaSuccess);
}

cudaError_t cudaEventCreate(cudaEvent_t *event)
{
    return cudaEventCreateWithFlags(event, cudaEventDefault);
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    if (event == NULL) {
        return emulator_result(cudaErrorInvalidResourceHandle);
    }
    delete event;
    return emulator_result(cudaSuccess);
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t given)
{
    const cudaStream_t stream = checked(given);
    event->graph = stream->graph;
    event->stream = stream;
    if (stream->graph != NULL) {
        return emulator_result(cudaSuccess); /* A dependency of the graph, nothing that runs. */
    }
    const std::shared_ptr<instant> at = std::make_shared<instant>();
    const cudaError_t error =
        emulator_submit(given, [at]() { *at = std::chrono::steady_clock::now(); });
    event->recorded = error == cudaSuccess;
    event->place = stream->last;
    event->at = at;
    return emulator_result(error);
}

cudaError_t cudaEventQuery(cudaEvent_t event)
{
    if (event->graph != NULL) {
        return emulator_result(cudaErrorCapturedEvent);
    }
    const bool was_done = !event->recorded || executed >= event->place;
    run_until(event->recorded ? event->place : 0); /* By the next question. */
    return emulator_result(was_done ? cudaSuccess : cudaErrorNotReady);
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    if (event->graph != NULL) {
        return emulator_result(cudaErrorCapturedEvent);
    }
    run_until(event->recorded ? event->place : 0);
    return emulator_result(cudaSuccess);
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t begin, cudaEvent_t end)
{
    if (!begin->recorded || !end->recorded ||
        ((begin->flags | end->flags) & cudaEventDisableTiming) != 0) {
        return emulator_result(cudaErrorInvalidResourceHandle);
    }
    if (executed < begin->place || executed < end->place) {
        return emulator_result(cudaErrorNotReady);
    }
    *milliseconds = std::chrono::duration<float, std::milli>(*end->at - *begin->at).count();
    return emulator_result(cudaSuccess);
}

/* Within a capture the waiting stream joins the graph of the event. */
static cudaError_t wait_in_capture(cudaStream_t stream, cudaEvent_t event)
{
    if (event->graph == NULL) {
        stream->graph->spoiled = true;
        return emulator_result(cudaErrorStreamCaptureIsolation);
    }
    if (stream->graph != NULL && stream->graph != event->graph) {
        return emulator_result(cudaErrorStreamCaptureMerge);
    }
    stream->graph = event->graph;
    stream->graph->streams.insert(stream);
    if (stream == stream->graph->origin) {
        event->stream->joined = true;
    }
    return emulator_result(cudaSuccess);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t given, cudaEvent_t event, unsigned int flags)
{
    const cudaStream_t stream = checked(given);
    if (flags != 0) {
        emulator_die("cudaStreamWaitEvent: flags %u", flags);
    }
    /* Outside a capture the queue keeps the order already. */
    return stream->graph != NULL || event->graph != NULL ? wait_in_capture(stream, event)
                                                         : emulator_result(cudaSuccess);
}

/* ---- Graphs ------------------------------------------------------------------------------ */

cudaError_t cudaStreamBeginCapture(cudaStream_t given, enum cudaStreamCaptureMode mode)
{
    const cudaStream_t stream = checked(given);
    if (emulator_final_error() != cudaSuccess) {
        return emulator_result(emulator_final_error());
    }
    if (stream == &default_stream) {
        return emulator_result(cudaErrorStreamCaptureUnsupported);
    }
    if (stream->graph != NULL) {
        return emulator_result(cudaErrorInvalidValue);
    }
    stream->graph = new CUgraph_st();
    stream->graph->mode = mode;
    stream->graph->origin = stream;
    stream->graph->streams.insert(stream);
    captures.insert(stream->graph);
    return emulator_result(cudaSuccess);
}

cudaError_t cudaStreamIsCapturing(cudaStream_t given, enum cudaStreamCaptureStatus *status)
{
    const cudaStream_t stream = checked(given);
    *status = stream->graph == NULL      ? cudaStreamCaptureStatusNone
              : stream->graph->spoiled   ? cudaStreamCaptureStatusInvalidated
                                         : cudaStreamCaptureStatusActive;
    return emulator_result(cudaSuccess);
}

cudaError_t cudaStreamEndCapture(cudaStream_t given, cudaGraph_t *graph_out)
{
    const cudaStream_t stream = checked(given);
    *graph_out = NULL;
    const cudaGraph_t graph = stream->graph;
    if (graph == NULL || graph->origin != stream) {
        return emulator_result(cudaErrorStreamCaptureUnmatched);
    }
    bool all_joined = true;
    for (cudaStream_t branch : graph->streams) {
        all_joined = all_joined && (branch == stream || branch->joined);
        branch->graph = NULL;
    }
    captures.erase(graph);
    if (graph->spoiled || !all_joined || emulator_final_error() != cudaSuccess) {
        const bool spoiled = graph->spoiled;
        delete graph;
        return emulator_result(spoiled ? cudaErrorStreamCaptureInvalidated
                                       : cudaErrorStreamCaptureUnjoined);
    }
    *graph_out = graph;
    return emulator_result(cudaSuccess);
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph,
                                 unsigned long long flags)
{
    if (flags != 0) {
        emulator_die("cudaGraphInstantiate: flags %llu", flags);
    }
    if (emulator_final_error() != cudaSuccess) {
        return emulator_result(emulator_final_error());
    }
    *exec = new CUgraphExec_st();
    (*exec)->nodes = std::make_shared<const std::vector<emulator_work>>(graph->nodes);
    return emulator_result(cudaSuccess);
}

cudaError_t cudaGraphUpload(cudaGraphExec_t, cudaStream_t stream)
{
    checked(stream);
    return emulator_result(cudaSuccess);
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream)
{
    const std::shared_ptr<const std::vector<emulator_work>> nodes = exec->nodes;
    return emulator_submit(stream, [nodes]() {
        for (const emulator_work &node : *nodes) {
            if (emulator_final_error() == cudaSuccess) {
                node();
            }
        }
    });
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    delete graph;
    return emulator_result(cudaSuccess);
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    delete exec;
    return emulator_result(cudaSuccess);
}
