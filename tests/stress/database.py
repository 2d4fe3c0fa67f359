"""Processes that write into SQLite databases in WAL mode, started again when they end, as one would.

Each has a database of its own: a lock ends with its holder's proxy, and another process could take it before the holder has
had its error; SQLite's memory in common (-shm) does not survive that, on this or any file server.

Usage: database.py DIR      Each line on stdin is answered with "ok ENDS" once every writer has committed twice since; the end of
                            stdin ends it: 0 when nothing acknowledged was lost and the databases are whole.
"""
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time

WRITERS = 3
# What SQLite says when the disk fails under it; EIO of a read is "malformed".  Then the writer ends, and looks anew as it starts.
HONEST = ('disk I/O error', 'unable to open database file', 'database is locked', 'locking protocol', 'database disk image is malformed')


def connect(path):
    db = sqlite3.connect(path, timeout=0.5, isolation_level=None)
    db.execute('pragma journal_mode=wal')
    db.execute('pragma synchronous=full')
    db.execute('create table if not exists t (writer int, n int, data text, primary key (writer, n))')
    return db


def write(path, writer, sure):
    """A writer: commits n+1 after n, and says so after each commit."""
    try:
        db = connect(path)
        (most, count), = db.execute('select coalesce(max(n), 0), count(*) from t where writer = ?', (writer,))
        if most != count or most not in (sure, sure + 1):
            print(f'wrong: {sure} rows acknowledged, {count} found up to {most}', flush=True)
            return 3
        n = most
        while True:
            n += 1
            # To SQLite a lock that fails is one that another holds: it would ask for ten seconds before it gives up.
            signal.setitimer(signal.ITIMER_REAL, 2)
            db.execute('begin immediate')
            db.execute('insert into t values (?, ?, ?)', (writer, n, f'{n}:' + 'x' * (n * 37 % 3000)))
            db.execute('commit')
            print(n, flush=True)
            if n % 50 == 0:
                (bad,), = db.execute('select count(*) from t where writer = ? and length(data) != length(n || ":") + n * 37 % 3000', (writer,))
                if bad:
                    print(f'wrong: {bad} rows hold other data', flush=True)
                    return 3
    except sqlite3.Error as e:
        if not str(e).startswith(HONEST):
            print(f'wrong: {e}', flush=True)
            return 3
        return 4


class Writer:
    def __init__(self, path, number):
        self.path, self.number, self.sure, self.commits, self.ends, self.wrong, self.child = path, number, 0, 0, 0, '', None
        self.stop = False
        self.thread = threading.Thread(target=self.loop, daemon=True)
        self.thread.start()

    def loop(self):
        while not self.stop and not self.wrong:
            self.child = subprocess.Popen([sys.executable, __file__, self.path, str(self.number), str(self.sure)],
                                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
            for line in self.child.stdout:
                if line[0].isdigit():
                    self.sure = int(line)
                    self.commits += 1
                else:
                    self.wrong = line.strip()
            code = self.child.wait()
            self.ends += 1
            if code < 0 and code != -signal.SIGALRM and not self.stop:
                self.wrong = self.wrong or f'a writer was ended by signal {-code}'


def look(w):
    """What is wrong with a database in the end, or ''."""
    while True:
        try:
            db = connect(w.path)
            (whole,), = db.execute('pragma integrity_check')
            (rows,), = db.execute('select count(*) from t where writer = ? and n <= ?', (w.number, w.sure))
            return '' if (whole, rows) == ('ok', w.sure) else f'integrity: {whole}; {rows} of {w.sure} acknowledged rows'
        except sqlite3.OperationalError as e:
            if not str(e).startswith(HONEST):
                return str(e)


def main():
    if len(sys.argv) > 2:
        return write(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    writers = [Writer(os.path.join(sys.argv[1], f'db{i}'), i) for i in range(WRITERS)]
    for _ in sys.stdin:
        before = [w.commits for w in writers]
        while any(w.commits < b + 2 for w, b in zip(writers, before)):
            bad = [w.wrong for w in writers if w.wrong]
            if bad:
                print(bad[0], flush=True)
                break
            time.sleep(0.002)
        else:
            print('ok', sum(w.ends for w in writers), flush=True)
    for w in writers:
        w.stop = True
    for w in writers:
        if w.child:
            w.child.terminate()
        w.thread.join(20)
        w.wrong = w.wrong or look(w)
        if w.wrong:
            print(f'database: {w.wrong}', file=sys.stderr)
    return 1 if any(w.wrong for w in writers) else 0


sys.exit(main())
