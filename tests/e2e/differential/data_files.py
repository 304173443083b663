"""Cases about what a RUN does to files, each in a layer over files of the base or of an earlier step."""

from tests.e2e.differential.cases import Case


def _run(name, *commands, base="odd"):
    return Case(f"run-{name}", "\n".join([f"FROM {base}", *(f"RUN {command}" for command in commands)]))


FILES = [
    _run("nothing", "true"),
    _run("fails", "exit 7"),
    _run("create", "echo x > /new; mkdir -m 711 /dir; echo y > /dir/y"),
    _run("change", "echo more >> /full/a"),
    _run("same-content", "cat /full/a > /tmp/t; cat /tmp/t > /full/a; rm /tmp/t"),
    _run("delete-file", "rm /full/a"),
    _run("delete-folder", "rm -r /full/sub"),
    _run("delete-everything-below", "rm -r /full/* && test -d /full"),
    _run("delete-new", "echo x > /n", "rm /n"),
    _run("delete-in-same-step", "mkdir /n; echo x > /n/x; rm -r /n"),
    _run("replace-folder-by-file", "rm -r /full/sub && echo f > /full/sub"),
    _run("replace-file-by-folder", "rm /full/a && mkdir /full/a && echo n > /full/a/n"),
    _run("replace-folder-by-link", "rm -r /full/sub && ln -s deep /full/sub"),
    _run("replace-link-by-folder", "rm /lib && mkdir /lib && echo n > /lib/n"),
    _run("replace-link-by-link", "rm /lib && ln -s usr /lib"),
    _run("recreate-folder", "rm -r /full/sub && mkdir /full/sub && echo n > /full/sub/n"),
    _run("recreate-folder-empty", "rm -r /full/sub && mkdir /full/sub"),
    _run("recreate-same", "rm -r /full/sub && mkdir -p /full/sub/deep && echo n > /full/sub/deep/c"),
    _run(
        "recreate-then-more",
        "rm -r /full && mkdir /full",
        "echo 1 > /full/a",
        "rm -r /full && mkdir -p /full/sub",
    ),
    _run("rename-folder", "mv /full/sub /full/moved"),
    _run("rename-file", "mv /full/a /full/z"),
    _run("rename-over", "mv /full/a /full/sub/b"),
    _run("rename-folder-up", "mv /full/sub/deep /up"),
    _run("rename-new-folder", "mkdir -p /p/q; echo 1 > /p/q/r", "mv /p /s"),
    _run("chmod-file", "chmod 600 /full/a"),
    _run("chmod-folder", "chmod 2750 /full/sub"),
    _run("chmod-suid", "chmod 6755 /full/a"),
    _run("chmod-root", "chmod 711 / && echo x > /x"),
    _run("chown-file", "chown 5:6 /full/a"),
    _run("chown-folder", "chown 5:6 /full/sub"),
    _run("chown-tree", "chown -R app:extra /full"),
    _run("chown-suid", "chown 5 /opt/suid"),
    _run("chown-link", "chown -h 5:6 /lib"),
    _run("touch-only", "touch -d '2001-01-01 00:00:00' /full/a /full/sub"),
    _run("fifo", "mkfifo -m 640 /p"),
    _run("devices", "mknod /c c 1 3 && mknod /b b 7 0 && chmod 620 /c"),
    _run("socket", "nc -l -U /sock & sleep 0.2; kill $! 2>/dev/null; true"),
    _run("sparse", "dd if=/dev/zero of=/s bs=1 count=1 seek=3000000 2>/dev/null"),
    _run("empty-file", ": > /e; truncate -s 0 /full/a"),
    _run("tmp", "echo x > /tmp/x; mkdir /tmp/d; chmod 700 /tmp/d"),
    _run("dev-proc", "echo x > /dev/shm/x; ls /proc > /dev/null"),
    _run("var-run", "mkdir -p /run /var/run; echo x > /run/x; echo y > /var/run/y"),
    _run("etc-hosts", "cat /etc/hosts /etc/resolv.conf > /dev/null; ls /etc > /listing", base="busybox"),
    _run("hardlink-new", "echo x > /h1; ln /h1 /h2; mkdir /hd; ln /h1 /hd/h3"),
    _run("hardlink-to-lower", "ln /full/a /full/a2"),
    _run("hardlink-change-lower", "echo more >> /opt/h1"),
    _run("hardlink-chmod-lower", "chmod 600 /opt/h1"),
    _run("hardlink-delete-lower", "rm /opt/h1"),
    _run("hardlink-across-steps", "echo x > /h1", "ln /h1 /h2", "echo y >> /h2"),
    _run("symlinks", "ln -s a /full/l1; ln -s /full/a /full/l2; ln -s ../.. /full/l3; ln -s 'a b' /full/l4"),
    _run("names", "touch '/a b' '/ünï' '/q\"x' \"/it's\" '/back\\slash' '/tab\t.'; touch -- /-dash"),
    _run("name-newline", "touch \"$(printf '/a\\nb')\""),
    _run("name-long", "n=$(printf 'x%.0s' $(seq 200)); mkdir -p /$n/$n; touch /$n/$n/$n"),
    _run("name-whiteout-neighbour", "touch /wh.x /.w /..h; mkdir /.whx"),
    _run("umask", "umask 077; touch /u; mkdir /ud"),
    _run("default-umask", "touch /u; mkdir /ud"),
    Case(
        "run-as-user",
        "FROM odd\nUSER app\nWORKDIR /home/app\nRUN touch mine; mkdir d; umask > u; ls -ld . > l",
    ),
    _run("many", "mkdir /m; for i in $(seq 300); do echo $i > /m/$i; done", "rm /m/1*; echo x > /m/2"),
    _run("deep", "p=; for i in $(seq 40); do p=$p/d$i; done; mkdir -p $p; touch $p/f"),
    _run("environment", "env | grep -v -e HOSTNAME -e SOURCE_DATE_EPOCH | sort > /env"),
    _run("exec-form", '["/bin/sh", "-c", "echo $0 \\"$HOME\\" > /o"]'),
    _run("exec-fallback", "['a']"),
    _run("quotes", "echo 'a  b' \"c  d\" e\\ f > /o"),
    _run("continued", "echo a \\\n  # comment\n  b \\\n\n  && echo c > /o"),
    _run("continued-string", "echo 'a \\\n b' > /o"),
    _run("escape-at-end", "echo a\\\\ > /o"),
    _run("stdin", "cat > /o; echo $? >> /o"),
    _run(
        "capabilities", "grep -E 'Cap(Prm|Eff|Bnd|Inh|Amb)' /proc/self/status > /caps; ulimit -n > /dev/null"
    ),
    _run("no-new-privileges", "grep -E 'NoNewPrivs|Seccomp:' /proc/self/status > /o"),
    _run("terminal", "tty > /o; ls -l /proc/self/fd | wc -l >> /o"),
    _run("process", "echo $$ > /o; cat /proc/self/cgroup > /dev/null; pwd >> /o"),
    _run("mounts-dev", "ls /dev | sort > /o"),
    _run("mounts-modes", "stat -c '%a %u %g %n' /dev /dev/shm /dev/pts /proc /tmp /dev/null /dev/fd > /o"),
    _run("heredoc", "<<EOF\necho x > /o\nEOF"),
    Case(
        "run-volume", "FROM odd\nRUN mkdir /v\nVOLUME /v\nRUN echo after > /v/f\nRUN cat /v/f > /seen; true"
    ),
    Case(
        "run-history",
        "FROM odd\nARG A=1\nARG B='two words'\nENV C=3\n"
        'RUN echo   $A\t$B > /o\nSHELL ["sh", "-c"]\nRUN true',
    ),
]
# Those of which the layer has to say more than which files are new.
LAYERS = [
    case
    for case in FILES
    if case.name.startswith(("run-delete", "run-replace", "run-recreate", "run-rename", "run-hardlink"))
]
