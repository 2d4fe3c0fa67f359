# SPDX-License-Identifier: GPL-2.0-or-later
"""What the benchmarks stand on: running commands natively or under `virtuos run`, CPU time by party, figures."""
import ctypes
import os
import shutil
import signal
import statistics
import subprocess
import tempfile
import time

PR_SET_CHILD_SUBREAPER = 36
TICK = os.sysconf('SC_CLK_TCK')
DOMAIN_PROGRAMS = ('virtuosd', 'virtuos-domain', 'virtuos-planner')
PARTIES = ('program', 'domain', 'generator')


class Failed(Exception):
    """A benchmark could not be run; the text is for a person."""


def become_reaper():
    """Orphans (the private supervisor is one) become children of this process: their CPU time and their end are seen."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _stat(pid):
    """(comm, parent, CPU seconds with those of its reaped children) or None."""
    try:
        with open(f'/proc/{pid}/stat', 'rb') as f:
            head, _, tail = f.read().rpartition(b')')
    except OSError:
        return None
    fields = tail.split()
    return head.partition(b'(')[2].decode(errors='replace'), int(fields[1]), sum(map(int, fields[11:15])) / TICK


def descendants():
    """{pid: (comm, CPU seconds)} of all descendants of this process."""
    table, children = {}, {}
    for name in os.listdir('/proc'):
        if name.isdigit() and (s := _stat(name)):
            table[int(name)] = s
            children.setdefault(s[1], []).append(int(name))
    found, todo = {}, [os.getpid()]
    while todo:
        for pid in children.get(todo.pop(), ()):
            found[pid] = (table[pid][0], table[pid][2])
            todo.append(pid)
    return found


class Run:
    """One run of one benchmark in one configuration: its scratch directory, its processes, their CPU time."""

    def __init__(self, build, config):
        self.build = build
        self.config = config
        self.reaped = dict.fromkeys(PARTIES, 0.0)
        self.generators = set()
        self.scratch = tempfile.mkdtemp(prefix='virtuos-bench.')
        self.started = []

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        for p in self.started:
            if p.returncode is None:
                p.terminate()
        self.settle()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def path(self, *parts):
        return os.path.join(self.scratch, *parts)

    def program(self, name):
        return os.path.join(self.build, name)

    def bench(self, name):
        return os.path.join(self.build, 'bench', name)

    # ---- the directory that a program works in: a plain one, or a prefix on a storage domain

    def data_dir(self):
        """Where the program finds its data."""
        os.makedirs(self.path('data'), exist_ok=True)
        return self.path('data') if self.config == 'native' else self.path('routed')

    def wrap(self, argv, net=False, store=False):
        """argv as this configuration runs it."""
        if self.config == 'native':
            return list(argv)
        options = ['--threads=mn'] if self.config.startswith('mn') else []
        if net:
            options.append('--net=local')
        if store:
            os.makedirs(self.path('data'), exist_ok=True)
            os.makedirs(self.path('routed'), exist_ok=True)
            options.append(f'--store={self.path("routed")}=local:{self.path("data")}')
        return [self.program('virtuos'), 'run', *options, '--', *argv]

    # ---- processes

    def _party(self, pid, comm):
        if pid in self.generators:
            return 'generator'
        return 'domain' if comm.startswith(DOMAIN_PROGRAMS) else 'program'

    def _account(self, pid, comm, usage):
        self.reaped[self._party(pid, comm)] += usage.ru_utime + usage.ru_stime

    def start(self, argv, generator=False, **how):
        """A process that goes on; how: as subprocess.Popen."""
        try:
            p = subprocess.Popen(argv, **how)
        except OSError as e:
            raise Failed(f'{argv[0]}: {e.strerror}') from e
        self.started.append(p)
        if generator:
            self.generators.add(p.pid)
        return p

    @staticmethod
    def ended(p):
        """Whether a started process has ended; it is not reaped by asking."""
        return p.returncode is not None or os.waitid(os.P_PID, p.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def finish(self, p, seconds=60):
        """Waits for one started process and accounts for it: its exit code."""
        if p.returncode is not None:
            return p.returncode
        end = time.monotonic() + seconds
        pause = 0.0005
        while True:
            pid, status, usage = os.wait4(p.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > end:
                p.kill()
                os.wait4(p.pid, 0)
                p.returncode = -9
                raise Failed(f'{p.args[0]} did not end within {seconds} s')
            time.sleep(pause)
            pause = min(pause * 2, 0.02)
        p.returncode = os.waitstatus_to_exitcode(status)
        self._account(p.pid, '', usage)
        return p.returncode

    def figures(self, argv, generator=False, seconds=300):
        """Runs a program that prints "NAME VALUE" lines: {name: value}."""
        with tempfile.TemporaryFile('w+') as out, tempfile.TemporaryFile('w+') as err:
            p = self.start(argv, generator, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
            code = self.finish(p, seconds)
            out.seek(0)
            err.seek(0)
            if code != 0:
                said = [line for line in err.read().splitlines() if line.strip()]
                raise Failed(f'{" ".join(argv)}: exit code {code}{": " + "; ".join(said[-3:]) if said else ""}')
            return {name: float(value) for name, value in (line.split() for line in out)}

    def settle(self, seconds=10):
        """Waits until nothing of this run is alive, and accounts for what ends."""
        end = time.monotonic() + seconds
        while True:
            try:
                info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if info:
                s = _stat(info.si_pid)
                pid, status, usage = os.wait4(info.si_pid, 0)
                self._account(pid, s[0] if s else '', usage)
                for p in self.started:
                    if p.pid == pid:
                        p.returncode = os.waitstatus_to_exitcode(status)
                continue
            if time.monotonic() > end:
                left = descendants()
                for pid in left:
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except OSError:
                        pass
                raise Failed('left running: ' + ', '.join(f'{comm} ({pid})' for pid, (comm, _) in left.items()))
            time.sleep(0.002)

    def cpu(self):
        """{party: CPU seconds until now}."""
        total = dict(self.reaped)
        for pid, (comm, seconds) in descendants().items():
            total[self._party(pid, comm)] += seconds
        return total


class Figure:
    """One value of one run."""

    def __init__(self, name, value, unit, better, cpu_per_op=None):
        self.name, self.value, self.unit, self.better, self.cpu_per_op = name, value, unit, better, cpu_per_op


def per_op(before, after, ops):
    """Microseconds of CPU time each party spent on one operation."""
    return {p: round((after[p] - before[p]) * 1e6 / ops, 3) for p in PARTIES} if ops > 0 else None


def spread(samples):
    """Half of the range in which the middle half of the samples lies."""
    if len(samples) < 2:
        return 0.0
    q = statistics.quantiles(samples, n=4, method='inclusive')
    return (q[2] - q[0]) / 2


def ratio(native, value, better):
    """Above 1: better than native."""
    if not native or not value:
        return None
    return value / native if better == 'higher' else native / value
