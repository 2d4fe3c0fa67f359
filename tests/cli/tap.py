# SPDX-License-Identifier: GPL-2.0-or-later
"""Cases of a command-line test: functions, run one by one, reported as TAP.  Each works in a directory of its own."""
import os
import shutil
import subprocess
import sys
import tempfile
import traceback

HERE = os.path.dirname(os.path.realpath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
BUILD = os.path.abspath(os.environ.get('VIRTUOS_BUILD', os.path.join(TOP, 'build')))
VIRTUOS = os.path.join(BUILD, 'virtuos')
LIBRARY = os.path.join(BUILD, 'libvirtuos.so')
DENY = os.path.join(BUILD, 'tests', 'cli', 'deny')
CONTAIN = os.path.join(TOP, 'tests', 'tools', 'contain')
SECONDS = 60
LEFT_RUNNING = 98

cases = []


def case(f):
    """Registers a case; its docstring is its name."""
    cases.append(f)
    return f


class Skip(Exception):
    pass


class Wrong(Exception):
    pass


class Done:
    """What a command did."""

    def __init__(self, argv, code, out, err):
        self.argv, self.code, self.out, self.err = argv, code, out, err

    def __str__(self):
        return f'{self.argv}\nexit {self.code}\nstdout: {self.out[-2000:]!r}\nstderr: {self.err[-2000:]!r}'


def run(*argv, env=None, stdin=None, contain=True, before=None, shell_code=False):
    """
    Runs a command with nothing of the caller's VIRTUOS settings; `env` adds variables.  Whatever it leaves running for two
    seconds is a failure of the case.  before: called in the child.  A death by signal is minus its number only when not contained.
    """
    full = {k: v for k, v in os.environ.items() if not k.startswith('VIRTUOS') and k not in ('LD_PRELOAD', 'XDG_CONFIG_HOME')}
    full['HOME'] = os.getcwd()
    full.update(env or {})
    argv = [str(a) for a in argv]
    whole = [CONTAIN, '--strict', *argv] if contain else argv
    try:
        p = subprocess.run(whole, env=full, input=stdin, stdin=subprocess.DEVNULL if stdin is None else None, capture_output=True,
                           text=True, errors='replace', timeout=SECONDS, preexec_fn=before)
    except subprocess.TimeoutExpired as e:
        raise Wrong(f'{argv} did not end within {SECONDS} s; stderr: {e.stderr!r}') from None
    done = Done(argv, p.returncode, p.stdout, p.stderr)
    if done.code == LEFT_RUNNING and 'left running' in done.err:
        raise Wrong(f'something was left running: {done}')
    return done


def virtuos(*argv, **how):
    return run(VIRTUOS, *argv, **how)


def expect(condition, what, done=None):
    if not condition:
        raise Wrong(f'{what}\n{done}' if done else what)


def refused(done, code, *words):
    """It ended with `code` and said one line that holds all the words."""
    expect(done.code == code, f'exit code {code} expected', done)
    lines = done.err.splitlines()
    expect(len(lines) == 1, 'one line on stderr expected', done)
    expect(lines[0].startswith('virtuos'), 'the line does not say who speaks', done)
    for word in words:
        expect(word in lines[0], f'{word!r} is not in the line', done)


def need_product():
    for name in ('libvirtuos.so', 'virtuosd', 'virtuos-domain'):
        if not os.path.exists(os.path.join(BUILD, name)):
            raise Skip(f'{name} is not built')


def routed():
    """Directories of this case: (prefix on the host, export in the domain, the --store option)."""
    os.makedirs('prefix', exist_ok=True)
    os.makedirs('export', exist_ok=True)
    os.chmod('export', 0o777)
    prefix, export = os.path.realpath('prefix'), os.path.realpath('export')
    return prefix, export, f'--store={prefix}=local:{export}'


def write(path, text, mode=None):
    with open(path, 'w') as f:
        f.write(text)
    if mode is not None:
        os.chmod(path, mode)
    return os.path.realpath(path)


def main():
    wanted = sys.argv[1:]
    chosen = [c for c in cases if not wanted or any(w in c.__doc__ or w == c.__name__ for w in wanted)]
    bad = 0
    print(f'1..{len(chosen)}')
    for number, c in enumerate(chosen, 1):
        scratch = tempfile.mkdtemp(prefix='virtuos-cli.', dir='/tmp')
        os.chmod(scratch, 0o755)
        os.chdir(scratch)
        ok, note, why = True, '', None
        try:
            c()
        except Skip as e:
            note = f' # SKIP {e}'
        except Wrong as e:
            ok, why = False, str(e)
        except Exception:
            ok, why = False, traceback.format_exc()
        os.chdir('/')
        shutil.rmtree(scratch, ignore_errors=True)
        for line in (why or '').splitlines():
            print(f'# {line}')
        print(f'{"" if ok else "not "}ok {number} - {c.__doc__.strip()}{note}', flush=True)
        bad += not ok
    return 1 if bad else 0
