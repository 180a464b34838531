/* The local protocol of CrypRQ for C and Swift. Made by cbindgen from ipc-proto/c/src; do not edit.
 *
 * Everything works on memory of the caller: nothing is allocated for it, kept, or called back. Every function may be
 * called from any thread. No function reads or writes beyond the lengths it is given. */

#ifndef CRYPRQ_IPC_H
#define CRYPRQ_IPC_H

#include <stddef.h>
#include <stdint.h>

// It was done.
#define CRYPRQ_OK 0

// The frame begins with other bytes.
#define CRYPRQ_MAGIC 1

// The frame has another version.
#define CRYPRQ_VERSION 2

// Flags or reserved bytes of the frame are not zero.
#define CRYPRQ_RESERVED 3

// There is no frame of that kind, or not for this function.
#define CRYPRQ_KIND 4

// The frame's body is longer than its limit.
#define CRYPRQ_TOO_LONG 5

// The frame is cut off.
#define CRYPRQ_TRUNCATED 6

// Bytes follow after the frame's end.
#define CRYPRQ_TRAILING 7

// The body is not in its one right form.
#define CRYPRQ_NOT_CANONICAL 8

// The body holds a value that its type does not have.
#define CRYPRQ_MALFORMED 9

// An inner packet has 0 or more than 65 535 bytes.
#define CRYPRQ_PACKET_LENGTH 10

// The caller's memory is too small.
#define CRYPRQ_NO_ROOM 11

// A null pointer, or a position that no earlier call has given.
#define CRYPRQ_ARGUMENT 12

// A fault of this library.
#define CRYPRQ_INTERNAL 13

// The length of a frame's header in bytes.
#define CRYPRQ_HEADER 16

// The longest frame in bytes, header included.
#define CRYPRQ_MAX_FRAME 262160

// The kind of a frame of inner packets.
#define CRYPRQ_KIND_PACKETS 18

// The role in Hello of the packet-tunnel extension.
#define CRYPRQ_ROLE_EXTENSION 4

// What a frame's header says.
typedef struct CryprqHeader {
  // What the body is: a number of `docs/ipc.md`.
  uint8_t kind;
  // The body's length in bytes.
  uint32_t length;
  // Chosen by who asks and repeated in every answer; 0 where nobody asked.
  uint32_t id;
} CryprqHeader;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Reads a header, the first `CRYPRQ_HEADER` bytes of a frame, so that the caller knows how many follow.
//
// # Safety
// `bytes` points at `length` bytes, `header` at a header; they do not overlap.
int32_t cryprq_frame_header(const uint8_t *bytes,
                            size_t length,
                            struct CryprqHeader *header);

// Adds a packet to the packet frame of `*end` bytes at the beginning of `frame`; 0 begins one. Afterwards the first
// `*end` bytes are a whole frame again. `CRYPRQ_NO_ROOM` leaves it as it was: send it and begin another.
//
// # Safety
// `frame` points at `capacity` bytes, `end` at a size, `packet` at `length` bytes; none overlaps another.
int32_t cryprq_packets_add(uint8_t *frame,
                           size_t capacity,
                           size_t *end,
                           const uint8_t *packet,
                           size_t length);

// Checks one whole packet frame, lengths and all, and counts its packets.
//
// # Safety
// `frame` points at `length` bytes, `count` at a size; they do not overlap.
int32_t cryprq_packets_count(const uint8_t *frame, size_t length, size_t *count);

// The next packet of a frame that `cryprq_packets_count` has checked. `*at` is 0 for the first and goes on by itself;
// the packet is the `*packet_length` bytes from `frame + *packet` on. After the last one `*packet_length` is 0.
//
// # Safety
// `frame` points at `length` bytes; `at`, `packet` and `packet_length` point at a size each; none overlaps another.
int32_t cryprq_packets_next(const uint8_t *frame,
                            size_t length,
                            size_t *at,
                            size_t *packet,
                            size_t *packet_length);

// Reads one whole control frame and writes it as JSON in UTF-8, without a final NUL:
// `{"id":3,"kind":"tunnel_settings","body":{...}}`. A frame of requests, replies, events or packets is
// `CRYPRQ_KIND`. `*written` is the length of the JSON, also with `CRYPRQ_NO_ROOM`; nothing is written then.
//
// # Safety
// `frame` points at `length` bytes, `json` at `capacity` bytes, `written` at a size; none overlaps another.
int32_t cryprq_frame_read(const uint8_t *frame,
                          size_t length,
                          uint8_t *json,
                          size_t capacity,
                          size_t *written);

// Writes the control frame that JSON in the form of `cryprq_frame_read` describes. `*written` is the frame's length,
// also with `CRYPRQ_NO_ROOM`; nothing is written then.
//
// # Safety
// `json` points at `length` bytes, `frame` at `capacity` bytes, `written` at a size; none overlaps another.
int32_t cryprq_frame_write(const uint8_t *json,
                           size_t length,
                           uint8_t *frame,
                           size_t capacity,
                           size_t *written);

// Writes the first frame of whoever connects: what this library's version speaks. `role` is a number of `docs/ipc.md`,
// `build` the caller's version in UTF-8, for people. `*written` is the frame's length, also with `CRYPRQ_NO_ROOM`;
// nothing is written then.
//
// # Safety
// `build` points at `length` bytes, `frame` at `capacity` bytes, `written` at a size; none overlaps another.
int32_t cryprq_hello_write(uint32_t role,
                           const uint8_t *build,
                           size_t length,
                           uint32_t id,
                           uint8_t *frame,
                           size_t capacity,
                           size_t *written);

// What a status means, in words for a log. The text lives as long as the program.
const char *cryprq_status_text(int32_t status);

// The name of an error code, as it stands in JSON, without a final NUL. `CRYPRQ_ARGUMENT` when no error has that
// number. `*written` is the name's length, also with `CRYPRQ_NO_ROOM`; nothing is written then.
//
// # Safety
// `name` points at `capacity` bytes, `written` at a size; they do not overlap.
int32_t cryprq_error_name(uint16_t number,
                          uint8_t *name,
                          size_t capacity,
                          size_t *written);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* CRYPRQ_IPC_H */
