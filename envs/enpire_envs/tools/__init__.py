"""What a script policy acts with: the tools of `def run(tools)`, over any environment of the suite, simulated or real.

`toolbox` has the tools, `bodies` what they act through, `perception` the classical eyes, `servers` clients of external ones.
A toolbox lives with the environment, never with the script: the script's side of it only carries names and arrays.
"""
