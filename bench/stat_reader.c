/* stat_reader MICROSECONDS: on a grid of that width, opens, reads and closes /proc/<pid>/stat of
 * every process: the least a program in C does that reads them all. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static void scan(void)
{
    char path[64], line[2048];
    DIR *proc = opendir("/proc");
    struct dirent *entry;
    if (!proc)
        exit(1);
    while ((entry = readdir(proc))) {
        if (entry->d_name[0] < '1' || entry->d_name[0] > '9')
            continue;
        snprintf(path, sizeof path, "/proc/%.20s/stat", entry->d_name);
        int fd = open(path, O_RDONLY);
        if (fd < 0)
            continue;
        if (read(fd, line, sizeof line) < 0)
            line[0] = 0;
        close(fd);
    }
    closedir(proc);
}

int main(int argc, char **argv)
{
    long step_ns = (argc > 1 ? atol(argv[1]) : 250000) * 1000;
    struct timespec next;
    clock_gettime(CLOCK_MONOTONIC, &next);
    for (;;) {
        struct timespec now;
        do {
            next.tv_nsec += step_ns;
            next.tv_sec += next.tv_nsec / 1000000000;
            next.tv_nsec %= 1000000000;
            clock_gettime(CLOCK_MONOTONIC, &now); /* after a pause: to the next point ahead */
        } while (next.tv_sec < now.tv_sec ||
                 (next.tv_sec == now.tv_sec && next.tv_nsec < now.tv_nsec));
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
        scan();
    }
}
