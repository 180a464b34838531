/* Reads every frame of ipc-proto/vectors through the C border and writes it again; what must be refused is refused by
 * name. Each buffer is its own piece of the heap, exactly as long as it has to be, so that the address sanitizer sees
 * the first byte beyond it. Usage: vectors DIRECTORY; prints how many frames it looked at. */
#define _GNU_SOURCE
#include <assert.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cryprq_ipc.h"

static const struct {
    const char *name;
    int32_t status;
} REFUSALS[] = {
    {"magic", CRYPRQ_MAGIC},         {"version", CRYPRQ_VERSION},     {"reserved", CRYPRQ_RESERVED},
    {"kind", CRYPRQ_KIND},           {"too_long", CRYPRQ_TOO_LONG},   {"truncated", CRYPRQ_TRUNCATED},
    {"trailing", CRYPRQ_TRAILING},   {"malformed", CRYPRQ_MALFORMED}, {"not_canonical", CRYPRQ_NOT_CANONICAL},
    {"packet_length", CRYPRQ_PACKET_LENGTH},
};

struct bytes {
    uint8_t *data;
    size_t length;
};

static struct bytes room(size_t length) {
    struct bytes made = {malloc(length ? length : 1), length};
    assert(made.data);
    return made;
}

static struct bytes load(const char *folder, const char *name, size_t name_length, const char *ending) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%.*s%s", folder, (int)name_length, name, ending);
    FILE *file = fopen(path, "rb");
    assert(file);
    fseek(file, 0, SEEK_END);
    struct bytes loaded = room((size_t)ftell(file));
    rewind(file);
    assert(fread(loaded.data, 1, loaded.length, file) == loaded.length);
    fclose(file);
    return loaded;
}

static void check_packets(struct bytes frame) {
    size_t count = 0, at = 0, packet = 0, length = 0, end = 0, seen = 0;
    assert(cryprq_packets_count(frame.data, frame.length, &count) == CRYPRQ_OK);
    struct bytes again = room(frame.length);
    for (;; seen++) {
        assert(cryprq_packets_next(frame.data, frame.length, &at, &packet, &length) == CRYPRQ_OK);
        if (length == 0) break;
        struct bytes copy = room(length);
        memcpy(copy.data, frame.data + packet, length);
        assert(cryprq_packets_add(again.data, again.length, &end, copy.data, copy.length) == CRYPRQ_OK);
        free(copy.data);
    }
    assert(seen == count);
    assert(count == 0 || (end == frame.length && memcmp(again.data, frame.data, end) == 0));
    uint8_t more = 0x45;
    assert(count == 0 || cryprq_packets_add(again.data, again.length, &end, &more, 1) == CRYPRQ_NO_ROOM);
    free(again.data);
}

static void check_control(struct bytes frame) {
    size_t written = 0, back = 0;
    assert(cryprq_frame_read(frame.data, frame.length, NULL, 0, &written) == CRYPRQ_NO_ROOM);
    struct bytes json = room(written);
    assert(cryprq_frame_read(frame.data, frame.length, json.data, json.length, &written) == CRYPRQ_OK);
    assert(written == json.length);
    struct bytes again = room(frame.length);
    assert(cryprq_frame_write(json.data, json.length, again.data, again.length - 1, &back) == CRYPRQ_NO_ROOM);
    assert(cryprq_frame_write(json.data, json.length, again.data, again.length, &back) == CRYPRQ_OK);
    assert(back == frame.length && memcmp(again.data, frame.data, back) == 0);
    free(again.data);
    free(json.data);
}

static void check_refused(struct bytes frame, struct bytes meaning, const char *name) {
    struct CryprqHeader header;
    int32_t status = cryprq_frame_header(frame.data, frame.length, &header);
    if (status == CRYPRQ_OK) {
        size_t written = 0;
        struct bytes json = room(CRYPRQ_MAX_FRAME);
        status = header.kind == CRYPRQ_KIND_PACKETS
                     ? cryprq_packets_count(frame.data, frame.length, &written)
                     : cryprq_frame_read(frame.data, frame.length, json.data, json.length, &written);
        free(json.data);
    }
    for (size_t i = 0; i < sizeof REFUSALS / sizeof *REFUSALS; i++) {
        char quoted[64];
        int length = snprintf(quoted, sizeof quoted, "\"%s\"", REFUSALS[i].name);
        if (memmem(meaning.data, meaning.length, quoted, (size_t)length)) {
            if (status != REFUSALS[i].status)
                printf("%s: %d (%s), not %s\n", name, status, cryprq_status_text(status), REFUSALS[i].name);
            assert(status == REFUSALS[i].status);
            return;
        }
    }
    assert(!"a refusal without a name");
}

int main(int argc, char **argv) {
    assert(argc == 2);
    DIR *folder = opendir(argv[1]);
    assert(folder);
    int frames = 0;
    for (struct dirent *entry; (entry = readdir(folder));) {
        size_t length = strlen(entry->d_name);
        if (length < 4 || strcmp(entry->d_name + length - 4, ".bin") != 0) continue;
        struct bytes frame = load(argv[1], entry->d_name, length - 4, ".bin");
        struct CryprqHeader header = {0};
        if (strncmp(entry->d_name, "refuse__", 8) == 0) {
            struct bytes meaning = load(argv[1], entry->d_name, length - 4, ".json");
            check_refused(frame, meaning, entry->d_name);
            free(meaning.data);
        } else {
            assert(cryprq_frame_header(frame.data, frame.length, &header) == CRYPRQ_OK);
            assert(header.length + CRYPRQ_HEADER == frame.length);
            if (header.kind == CRYPRQ_KIND_PACKETS)
                check_packets(frame);
            else if (header.kind < 4 || header.kind > 6)
                check_control(frame);
        }
        free(frame.data);
        frames++;
    }
    closedir(folder);
    printf("%d\n", frames);
    return 0;
}
