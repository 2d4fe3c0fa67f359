# SPDX-License-Identifier: GPL-2.0-or-later
"""The benchmarks.  Each has configurations, run in turn, and yields figures; README.md says how each is measured."""
import os
import shutil
import socket
import subprocess
import time

from harness import Failed, Figure, per_op


class Bench:
    name = ''
    summary = ''
    configs = ('native', 'virtuos')

    def missing(self):
        """Why it cannot be run on this machine, or None."""

    def run(self, r, quick):
        """Yields the figures of one run `r`."""
        raise NotImplementedError

    def conclude(self, median):
        """Yields (text, value, unit, target or None, met or None); median(name, config) is a value or None."""
        return ()


def at_most(text, value, unit, target):
    return text, value, unit, f'at most {target:g} {unit}', value <= target


class Hook(Bench):
    name = 'hook'
    summary = 'calls that stay on this kernel or that the runtime answers; starting a program'
    configs = ('native', 'virtuos', 'preload', 'domains')
    python = '/usr/bin/python3'

    def run(self, r, quick):
        count = '15' if quick else '40'
        few = '5' if quick else '15'
        if r.config in ('native', 'virtuos'):
            for name, value in r.figures(r.wrap([r.bench('hook')])).items():
                yield Figure(name, value, 'ns', 'lower')
        before, after = [], []
        if r.config == 'virtuos':
            before = [r.program('virtuos'), 'run', '--']
        elif r.config == 'preload':
            before = [f'LD_PRELOAD={r.program("libvirtuos.so")}', 'VIRTUOS=']
        elif r.config == 'domains':
            before = r.wrap(after, net=True, store=True)
        for name, argv, n in (('start_true', ['/bin/true'], count), ('start_python', [self.python, '-c', 'pass'], few)):
            if os.path.exists(argv[0]):
                yield Figure(name, r.figures([r.bench('spawn'), n, *before, *argv])['median'], 'us', 'lower')

    def conclude(self, median):
        def added(name, config='virtuos'):
            a, b = median(name, 'native'), median(name, config)
            return None if a is None or b is None else b - a
        for name, text in (('getppid', 'getppid'), ('lseek', 'lseek of a native descriptor'), ('read', 'read of a native descriptor')):
            if added(name) is not None:
                yield at_most(f'added to a native call: {text}', added(name), 'ns', 15)
        if added('fallback') is not None:
            yield 'added to a native call at a site that cannot be patched', added('fallback'), 'ns', None, None
        if median('getpid', 'virtuos') is not None:
            yield at_most('a call that the runtime answers: getpid', median('getpid', 'virtuos'), 'ns', 8)
        for config, text in (('preload', 'by LD_PRELOAD'), ('virtuos', 'by virtuos run'), ('domains', 'by virtuos run, two private domains')):
            if added('start_true', config) is not None:
                text_true = f'added to the start of /bin/true {text}'
                yield (text_true, added('start_true', config) / 1000, 'ms', None, None) if config == 'domains' else \
                    at_most(text_true, added('start_true', config) / 1000, 'ms', 4)
        native = median('start_python', 'native')
        for config, text in (('preload', 'by LD_PRELOAD'), ('virtuos', 'by virtuos run')):
            if native and added('start_python', config) is not None:
                yield at_most(f'added to python3 -c pass {text}', 100 * added('start_python', config) / native, '%', 5)


class Switch(Bench):
    name = 'switch'
    summary = 'threads: a turn handed over by a mutex and a condition, creation and join, two that yield to each other'
    configs = ('native', 'mn')

    def run(self, r, quick):
        for name, value in r.figures(r.wrap([r.bench('switch')])).items():
            yield Figure(name, value, 'ns', 'lower')

    def conclude(self, median):
        call = median('syscall', 'native')
        if call and median('pingpong', 'mn'):
            yield at_most('a turn by mutex and condition, in native system calls', median('pingpong', 'mn') / call, 'times', 1)
        native, mn = median('create_join', 'native'), median('create_join', 'mn')
        if native and mn:
            yield 'pthread_create + join faster than native', native / mn, 'times', 'at least 15 times', native / mn >= 15


class Lane(Bench):
    name = 'lane'
    summary = 'a null call over a lane, beside a bare ping-pong of two processes; ringing a sleeping server'

    def run(self, r, quick):
        if r.config == 'native':
            yield Figure('round_trip', r.figures([r.bench('lane'), 'pingpong'])['pingpong'], 'ns', 'lower')
            yield Figure('asleep', r.figures([r.bench('lane'), 'wakeup'])['wakeup'], 'ns', 'lower')
            return
        os.makedirs(r.path('data'), exist_ok=True)
        got = r.figures([r.bench('lane'), 'null', r.program('virtuosd'), r.path('data')])
        yield Figure('round_trip', got['null'], 'ns', 'lower')
        yield Figure('asleep', got['doorbell'], 'ns', 'lower')
        yield Figure('in_a_batch', got['null_batch'], 'ns', 'lower')

    def conclude(self, median):
        bare, null = median('round_trip', 'native'), median('round_trip', 'virtuos')
        if bare and null:
            yield at_most('null call, server awake, in bare ping-pongs', null / bare, 'times', 1.5)


class Storage(Bench):
    name = 'storage'
    summary = 'reads and writes of 1 B to 1 MiB in the page cache, open and close, stat, a directory'

    def run(self, r, quick):
        where = r.data_dir()
        for name, value in r.figures(r.wrap([r.bench('storage'), where + '/d'], store=True)).items():
            yield Figure(name, value, 'ns', 'lower')
        if r.config != 'native' and os.listdir(r.path('routed')):
            raise Failed('the files lie on the host: nothing was routed')


class Echo(Bench):
    name = 'echo'
    summary = 'a TCP echo server, a thread for each connection or one epoll loop, 1 to 64 connections'

    def run(self, r, quick):
        ms = 500 if quick else 1500
        for mode in ('threads', 'epoll'):
            p = r.start(r.wrap([r.bench('echo'), mode], net=True), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            try:
                port = p.stdout.readline().decode().strip()
                if not port.isdigit():
                    raise Failed(f'the echo server ({mode}) did not start')
                for connections in (1, 64) if quick else (1, 4, 16, 64):
                    before = r.cpu()
                    got = r.figures([r.bench('echo'), 'load', port, str(connections), str(ms)], generator=True)
                    # The rate leaves the first fifth out, the CPU time does not.
                    cost = per_op(before, r.cpu(), got['per_second'] * ms / 1000)
                    name = f'{mode}_{connections}'
                    yield Figure(name, got['per_second'], '1/s', 'higher', cost)
                    yield Figure(f'{name}_p99', got['p99_us'], 'us', 'lower')
            finally:
                p.stdin.close()
                r.finish(p)
                p.stdout.close()


class Redis(Bench):
    name = 'redis'
    summary = "Debian's redis-server with an append-only file, 50 connections, pipelines of 1 and 16"

    def missing(self):
        for program in ('redis-server', 'redis-benchmark'):
            if not shutil.which(program):
                return f'{program} is not installed (apt-get install redis-server redis-tools)'
        return None

    def run(self, r, quick):
        with socket.socket() as s:
            s.bind(('127.0.0.1', 0))
            port = s.getsockname()[1]
        argv = ['redis-server', '--port', str(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'yes',
                '--appendfsync', 'everysec', '--dir', r.data_dir(), '--logfile', '']
        p = r.start(r.wrap(argv, net=True, store=True), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            end = time.monotonic() + 15
            while True:
                try:
                    socket.create_connection(('127.0.0.1', port), 1).close()
                    break
                except OSError:
                    if time.monotonic() > end or r.ended(p):
                        raise Failed('redis-server did not start') from None
                    time.sleep(0.05)
            for depth in (1, 16):
                requests = (20000 if quick else 60000) * (1 if depth == 1 else 5)
                for command in ('set', 'get'):
                    before = r.cpu()
                    rate = self.load(r, port, depth, command, requests)
                    yield Figure(f'{command}_p{depth}', rate, '1/s', 'higher', per_op(before, r.cpu(), requests))
        finally:
            p.terminate()
            r.finish(p)

    @staticmethod
    def load(r, port, depth, command, requests):
        g = r.start(['redis-benchmark', '-p', str(port), '-c', '50', '-P', str(depth), '-n', str(requests), '-t', command, '--csv'],
                    generator=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        rate = None
        for line in g.stdout:
            cells = line.strip().split(',')
            if cells[0].strip('"').lower() == command:
                rate = float(cells[1].strip('"'))
        code = r.finish(g)
        g.stdout.close()
        if code != 0 or rate is None:
            raise Failed(f'redis-benchmark: exit code {code}')
        return rate


ALL = [Hook(), Switch(), Lane(), Storage(), Echo(), Redis()]
