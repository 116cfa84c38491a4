/* idle COUNT FOLDER…: COUNT children that sleep for ever, spread over the cgroups named (each a
 * list of cgroup.procs files divided by ':'), die with their parent. Prints "ready". */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static void enter(char *files)
{
    for (char *file = strtok(files, ":"); file; file = strtok(NULL, ":")) {
        int fd = open(file, O_WRONLY);
        if (fd < 0 || write(fd, "0", 1) != 1)
            _exit(1);
        close(fd);
    }
}

int main(int argc, char **argv)
{
    int count = argc > 1 ? atoi(argv[1]) : 0;
    for (int i = 0; i < count; i++) {
        pid_t pid = fork();
        if (pid < 0)
            return perror("fork"), 1;
        if (pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (argc > 2)
                enter(argv[2 + i % (argc - 2)]);
            for (;;)
                pause();
        }
    }
    usleep(300000); /* the last children enter their cgroups and stop running */
    puts("ready");
    fflush(stdout);
    for (;;)
        pause();
}
