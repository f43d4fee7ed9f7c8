"""What the tools share: flags, a quiet TensorFlow, and one line for a user's mistake."""
import ast
import dataclasses
import difflib
import importlib.util
import os
import pathlib
import re
import sys
import typing

from absl import flags

from tfdepth.checks import UserError
from tfdepth.heap import share_heap
from tfdepth.stopping import Terminated

HELP = ("-h", "-help", "--help", "--helpfull", "--helpshort")
CONFIGS = pathlib.Path(__file__).resolve().parents[1] / "configs"
DEFAULT_CONFIG = CONFIGS / "sfmlearner.py"


def run(text, body, define=None, config=False, arguments=(), argv=None):
    """Runs a tool: parses the command line, calls `body` and words what goes wrong.

    Args:
      text: the tool's docstring, shown by --help; its first line names what it does.
      body: called with the flags (and the positional arguments); its result is the exit code,
        None = 0.
      define: called with an empty absl FlagValues to define the tool's flags.
      config: whether there is a --config flag with typed overrides --config.a.b=v. A --workdir
        then has the config's name as default: runs/sfmlearner-quick.
      arguments: names of positional arguments.
      argv: the command line without the program; None = sys.argv[1:].

    Returns: the exit code: 2 for a mistake of the user, 130 after Ctrl-C, after SIGTERM as the tool
      says (tfdepth.stopping), 1 for a failed run.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    tool = text.split(":")[0].split("/")[-1].strip()
    values = flags.FlagValues()
    flags.DEFINE_bool("verbose", False, "show TensorFlow's own messages and full tracebacks",
                      flag_values=values)
    if define:
        define(values)
    if set(argv) & set(HELP):
        _print_whole(_help(text, values, config))
        return 0
    share_heap()
    verbose = "--verbose" in argv
    if not verbose:
        _quiet_tensorflow()
    try:
        if config:
            argv = _define_config(values, argv)
        rest = values([tool, *argv])[1:]
        if len(rest) != len(arguments):
            raise UserError(f"expected the arguments {' '.join(arguments) or '(none)'} beside "
                            f"flags; found {' '.join(rest) or 'none'}.")
        return body(values, *rest) or 0
    except KeyboardInterrupt as interrupt:
        print(f"{tool}: interrupted{'; ' if str(interrupt) else ''}{interrupt}", file=sys.stderr)
        return 130
    except Terminated as end:
        print(f"{tool}: ended by SIGTERM; {end}", file=sys.stderr)
        return end.code
    except flags.UnrecognizedFlagError as error:
        print(f"{tool}: there is no flag --{error.flagname}.{_near(error.flagname, values, '--')} "
              "--help lists the flags.", file=sys.stderr)
        return 2
    except (UserError, flags.Error, OSError) as error:
        if verbose:
            raise
        text = _words_of_value(error, values) or str(error)
        print(f"{tool}: {' '.join(text.split())}", file=sys.stderr)
        return 2
    except RuntimeError as error:
        if verbose or type(error).__module__.split(".")[0] != "tfdepth":
            raise
        print(f"{tool}: {error}", file=sys.stderr)
        return 1


def define_devices(values):
    """Defines --devices, see tfdepth.training.distribution.make_strategy."""
    flags.DEFINE_string("devices", "", "without it every GPU there is, or the CPU; cpu; gpu:0,1: "
                        "these GPUs; cpu:4: four replicas on the CPU, for trials",
                        flag_values=values)


def _quiet_tensorflow():
    """Hides start-up chatter of TensorFlow, nothing else."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # cuDNN, cuBLAS and CPU feature lines


def _define_config(values, argv):
    """Defines --config.<field> flags of the chosen config; returns argv without --config itself."""
    from ml_collections import config_flags
    chosen, rest = str(DEFAULT_CONFIG), []
    arguments = iter(argv)
    for argument in arguments:
        name, separator, value = argument.lstrip("-").partition("=")
        if argument.startswith("-") and name == "config":
            chosen = value if separator else next(arguments, "")
        else:
            rest.append(argument)
    config = load_config_file(chosen)
    if "workdir" in values:
        name, _, variant = chosen.partition(":")
        values.set_default("workdir", "runs/" + "-".join(filter(None, (
            pathlib.Path(name).stem, variant))))
    rest = [_check_override(config, argument) for argument in rest]
    config_flags.DEFINE_config_dataclass("config", config, flag_values=values,
                                         sys_argv=["", *rest])
    return rest


def load_config_file(chosen):
    """The config of "path/to/file.py" or "path/to/file.py:variant".

    Raises: UserError: if there is no such file, or it does not define get_config().
    """
    name, _, variant = chosen.partition(":")
    path = pathlib.Path(name).expanduser()
    if not path.is_file():
        known = ", ".join(f"configs/{file.name}" for file in sorted(CONFIGS.glob("*.py")))
        raise UserError(f"--config {chosen}: expected a file with a get_config(), optionally with "
                        f":variant; found no file {path}. There are: {known}.")
    spec = importlib.util.spec_from_file_location("tfdepth_config", path)
    if spec is None:
        raise UserError(f"--config {chosen}: expected a Python file; found {path.name}.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        config = module.get_config(*([variant] if variant else []))
    except UserError:
        raise
    except Exception as error:  # the file is the user's program, whatever goes wrong in it
        raise UserError(f"--config {chosen}: expected a Python file with get_config(); found "
                        f"{type(error).__name__}: {error}.") from error
    if not dataclasses.is_dataclass(config):
        raise UserError(f"--config {chosen}: expected get_config() to return an ExperimentConfig; "
                        f"found {type(config).__name__}.")
    return config


def _check_override(config, argument):
    """Checks that --config.a.b names a field; puts quotes around the names of a tuple of names."""
    flag, separator, value = argument.partition("=")
    path = flag.lstrip("-")
    if not argument.startswith("-") or not path.startswith(("config.", "noconfig.")):
        return argument
    holder, hints = config, {}
    for part in path.split(".")[1:]:
        hints = typing.get_type_hints(type(holder)) if dataclasses.is_dataclass(holder) else {}
        if part not in hints:
            where = type(holder).__name__
            raise UserError(f"--{path}: {where} has no field {part!r}; it has "
                            f"{', '.join(hints) or 'none'}.{_near(part, hints)}")
        holder = getattr(holder, part)
    if dataclasses.is_dataclass(holder):
        names = ", ".join(field.name for field in dataclasses.fields(holder))
        raise UserError(f"--{path}: expected one of its fields, {names}, behind a dot.")
    names = hints[part] == typing.Tuple[str, ...]
    if names and separator and not value.strip().startswith(("(", "'", '"')):
        return f"{flag}={tuple(filter(None, value.split(',')))!r}"
    return argument


def _words_of_value(error, values):
    """What a flag expected and got, if absl says so of its text; else None."""
    found = re.match(r"flag --([\w.]+)=(.*?): .*(invalid literal|could not convert|Non-boolean)",
                     str(error), re.DOTALL)
    if not found:
        return None
    name, value, _ = found.groups()
    expected = {"int": "a whole number", "float": "a number", "bool": "true or false"}.get(
        values[name].parser.flag_type(), values[name].parser.syntactic_help)
    return f"--{name}: expected {expected}; got {value or 'nothing'}."


def _print_whole(text):
    """Prints what may be longer than its reader, as `head`, wants."""
    try:
        print(text, flush=True)
    except BrokenPipeError:  # nor does Python's own end write any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _near(word, words, before=""):
    close = difflib.get_close_matches(word, list(words), n=1)
    return f" Did you mean {before + close[0]!r}?" if close else ""


def _help(text, values, config):
    """The tool's docstring, its flags, and the configs there are with their variants."""
    lines = [text.strip(), "", "Flags:"]
    for name in sorted(values):
        flag = values[name]
        default = "" if flag.default in (None, "", False) else f" (default {flag.default})"
        lines.append(f"  --{name}: {' '.join(flag.help.split())}{default}")
    if config:
        lines += ["  --config: a file of configs/, with :variant where it has variants "
                  f"(default {DEFAULT_CONFIG.parent.name}/{DEFAULT_CONFIG.name})",
                  "  --config.<part>.<field>: overrides one field, as --config.train.epochs=3; the",
                  "      config.json of every run lists all fields", ""]
        for file in sorted(CONFIGS.glob("*.py")):
            # Read, not imported: importing a config takes TensorFlow's seconds.
            about = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
            lines += [f"configs/{file.name}: {about}", ""]
    return "\n".join(lines).rstrip()
