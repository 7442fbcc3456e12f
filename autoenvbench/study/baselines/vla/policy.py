"""An external vision-language-action policy: its server is asked for a chunk of actions, which is executed, and so on.

Needs `--tool policy_url=ws://HOST:PORT` (openpi) or `http://HOST:PORT` (GR00T).
"""


def run(tools):
    while True:  # the time limit ends it
        tools.use_policy_output()
