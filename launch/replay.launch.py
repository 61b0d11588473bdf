"""Play a recorded drive into the segmentation node, and score its answers if wanted.

ros2 launch seg_perception replay.launch.py bag:=drive report:=report.html

For scores of every single frame use `seg-perception replay drive`, which waits for each answer;
this plays as fast as the drive was, and shows it.
"""

from launch import LaunchDescription, LaunchDescriptionEntity
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
    TimerAction,
)
from launch.event_handlers import OnProcessExit
from launch.launch_context import LaunchContext
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution, ThisLaunchFileDir
from launch_ros.substitutions import ExecutableInPackage

ARGUMENTS = (
    DeclareLaunchArgument("bag", description="A rosbag2 folder, or one .mcap or .db3."),
    DeclareLaunchArgument("rate", default_value="1.0", description="Speed of the drive."),
    DeclareLaunchArgument(
        "delay", default_value="5.0", description="Seconds until it begins, for the model to load."
    ),
    DeclareLaunchArgument(
        "report", default_value="", description="Score the answers and write this HTML file."
    ),
    DeclareLaunchArgument(
        "image", default_value="/image", description="Topic of the camera image in the bag."
    ),
    DeclareLaunchArgument("bundle", default_value="", description="Model bundle."),
    DeclareLaunchArgument(
        "rviz",
        default_value="true",
        description="Show overlay and mask.",
        choices=["true", "false"],
    ),
)


def play_and_score(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    player = ExecuteProcess(
        cmd=[
            *("ros2", "bag", "play", LaunchConfiguration("bag")),
            *("--rate", LaunchConfiguration("rate"), "--clock"),
        ],
        output="screen",
    )
    report = LaunchConfiguration("report").perform(context)
    if not report:
        return [_later(player), _end_after(player, "the drive is over")]
    bundle = LaunchConfiguration("bundle").perform(context)
    scorer = ExecuteProcess(
        cmd=[
            ExecutableInPackage("seg-perception", "seg_perception"),
            *("replay", "--live", "--compare", "--report", report),
            *("--image-topic", LaunchConfiguration("image")),
            *(("--bundle", bundle) if bundle else ()),
        ],
        output="screen",
    )
    return [scorer, _later(player), _end_after(scorer, "the drive is scored")]


def generate_launch_description() -> LaunchDescription:
    segmentation = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(
            PathJoinSubstitution([ThisLaunchFileDir(), "segmentation.launch.py"])
        ),
        launch_arguments={
            "image": LaunchConfiguration("image"),
            "bundle": LaunchConfiguration("bundle"),
            "rviz": LaunchConfiguration("rviz"),
            "use_sim_time": "true",
        }.items(),
    )
    return LaunchDescription([*ARGUMENTS, segmentation, OpaqueFunction(function=play_and_score)])


def _later(action: ExecuteProcess) -> TimerAction:
    return TimerAction(period=LaunchConfiguration("delay"), actions=[action])


def _end_after(process: ExecuteProcess, reason: str) -> RegisterEventHandler:
    ended = OnProcessExit(
        target_action=process, on_exit=[LogInfo(msg=reason), Shutdown(reason=reason)]
    )
    return RegisterEventHandler(ended)
